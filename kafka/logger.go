package kafka

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// sayEvery is how often one and the same trouble is logged: a client that waits for a broker says so at each
// attempt.
const sayEvery = 10 * time.Second

// clientLogger passes on what a kgo client has to say. Its infos are our debug messages.
type clientLogger struct {
	logger *slog.Logger

	mu   sync.Mutex
	said map[string]time.Time // when a warning was last logged, by message
}

func newClientLogger(logger *slog.Logger) *clientLogger {
	return &clientLogger{logger: logger, said: map[string]time.Time{}}
}

func (l *clientLogger) Level() kgo.LogLevel {
	if l.logger.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

func (l *clientLogger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	switch level {
	case kgo.LogLevelError, kgo.LogLevelWarn:
		if l.mayWarn(msg) {
			l.logger.Warn("kafka client: "+msg, keyvals...)
		}
	default:
		l.logger.Debug("kafka client: "+msg, keyvals...)
	}
}

func (l *clientLogger) mayWarn(msg string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if now.Sub(l.said[msg]) < sayEvery {
		return false
	}
	l.said[msg] = now
	return true
}
