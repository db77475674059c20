package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/moldau-io/moldau/log"
)

// Options say which cluster, and how it is spoken to.
type Options struct {
	// Seeds are brokers to begin with, HOST:PORT each; one that answers is enough. Required.
	Seeds []string
	// Client are options of all kgo clients that are made: SASL, TLS, compression of what is written. They come
	// after our defaults. What the guarantees rest on (transactions, groups, isolation, partitioning) is set
	// after them.
	Client []kgo.Opt
	// Logger is told of trouble with the cluster. Default: slog.Default().
	Logger *slog.Logger
}

const (
	// openTimeout bounds Open where its context does not.
	openTimeout = 10 * time.Second
	// transactionTimeout is how long a transaction may be open before its coordinator aborts it, unless the
	// cluster allows less.
	transactionTimeout = time.Minute
	// requestTimeout is how long requests are retried, but for those that must come to an end.
	requestTimeout = 2 * time.Minute
	// batchOverhead is what a record batch is larger than its records (batch.go of package log draws it). kgo counts the
	// length before it, too.
	batchOverhead    = 61
	kgoBatchOverhead = batchOverhead + 4
	// largestBatch keeps a cluster that allows huge batches from having them of small records. kgo makes none that
	// are smaller than smallestBatch.
	largestBatch  = 16 << 20
	smallestBatch = 512

	defaultMessageBytes = 1<<20 + 12 // Kafka's message.max.bytes
)

// Broker is a log.Broker on a Kafka cluster. Its methods may be called concurrently.
type Broker struct {
	o      Options
	logger *slog.Logger
	client *kgo.Client // for what is neither read nor written
	admin  *kadm.Client

	maxBatchBytes int32
	txnTimeout    time.Duration
	// txnV2: transactions are of version 2 (KIP-890): the cluster adds partitions to them by itself, and their
	// producer's epoch grows with each.
	txnV2 bool

	ids     sync.Map // topic name -> [16]byte
	batches sync.Map // topic name -> int32, the largest batch it takes, where that is known
	ends    sync.Map // log.TopicPartition -> *atomic.Int64: see seen

	mu      sync.Mutex
	closed  bool
	closers map[closer]struct{} // members and readers
}

var _ log.Broker = (*Broker)(nil)

// closer is what a Broker closes with itself.
type closer interface{ Close() error }

// Open connects to a cluster. If none of the seeds answers it fails after 10 s at the latest, with their
// addresses. The Broker must be closed.
func Open(ctx context.Context, o Options) (*Broker, error) {
	if len(o.Seeds) == 0 {
		return nil, errors.New("kafka: no seeds: give the HOST:PORT of a broker")
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	b := &Broker{o: o, logger: o.Logger, closers: map[closer]struct{}{}}
	var err error
	if b.client, err = b.newClient(); err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	b.admin = kadm.NewClient(b.client)
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := b.open(ctx); err != nil {
		b.client.Close()
		return nil, err
	}
	return b, nil
}

func (b *Broker) open(ctx context.Context) error {
	seeds := strings.Join(b.o.Seeds, ", ")
	if err := b.ping(ctx); err != nil {
		return fmt.Errorf("kafka: no broker answers at %s: %w; start one, or give the HOST:PORT of one that runs", seeds, err)
	}
	if err := b.limits(ctx); err != nil {
		return fmt.Errorf("kafka: %s answers, but not the brokers it names (their advertised.listeners must be reachable from here): %w", seeds, err)
	}
	return nil
}

// ping asks for any answer. kgo waits for the first one longer than the context says.
func (b *Broker) ping(ctx context.Context) error {
	answer := make(chan error, 1)
	go func() { answer <- b.client.Ping(ctx) }()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// limits asks the cluster for its limits. Where it does not tell, they are Kafka's defaults.
func (b *Broker) limits(ctx context.Context) error {
	b.maxBatchBytes, b.txnTimeout = defaultMessageBytes, transactionTimeout
	versions, err := kmsg.NewPtrApiVersionsRequest().RequestWith(ctx, b.client)
	if err != nil {
		return fmt.Errorf("ask for versions: %w", err)
	}
	for _, f := range versions.FinalizedFeatures {
		b.txnV2 = b.txnV2 || f.Name == "transaction.version" && f.MaxVersionLevel >= 2
	}
	meta, err := b.admin.BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("ask for brokers: %w", err)
	}
	if len(meta.Brokers) == 0 {
		return errors.New("it names none")
	}
	configs, err := b.admin.DescribeBrokerConfigs(ctx, meta.Brokers[0].NodeID)
	if err != nil && !authorization(err) {
		return fmt.Errorf("ask broker %d at %s:%d for its settings: %w", meta.Brokers[0].NodeID, meta.Brokers[0].Host, meta.Brokers[0].Port, err)
	}
	for _, c := range configs {
		for _, entry := range c.Configs {
			n, err := strconv.ParseInt(entry.MaybeValue(), 10, 64)
			if err != nil || n <= 0 {
				continue
			}
			switch entry.Key {
			case "message.max.bytes":
				b.maxBatchBytes = int32(min(n, largestBatch))
			case "transaction.max.timeout.ms":
				b.txnTimeout = min(time.Duration(n)*time.Millisecond, transactionTimeout)
			}
		}
	}
	return nil
}

// authorization reports whether err says that we may not ask.
func authorization(err error) bool {
	var ae *kadm.AuthError
	return errors.As(err, &ae) || errors.Is(err, kerr.ClusterAuthorizationFailed) || errors.Is(err, kerr.TopicAuthorizationFailed)
}

// newClient makes a client with our defaults, the user's options and then opts.
func (b *Broker) newClient(opts ...kgo.Opt) (*kgo.Client, error) {
	all := []kgo.Opt{
		kgo.SeedBrokers(b.o.Seeds...),
		kgo.ClientID("moldau"),
		kgo.WithLogger(newClientLogger(b.logger)),
		kgo.DisableClientMetrics(),
		kgo.DialTimeout(5 * time.Second),
		kgo.MetadataMinAge(250 * time.Millisecond), // how soon a moved partition is found again
		kgo.RetryBackoffFn(func(tries int) time.Duration {
			return min(20*time.Millisecond<<min(tries, 10), 2*time.Second)
		}),
		kgo.RequestRetries(math.MaxInt),
		kgo.RetryTimeoutFn(func(key int16) time.Duration {
			switch kmsg.Key(key) {
			case kmsg.EndTxn:
				return 0 // for ever: no answer is no outcome
			case kmsg.JoinGroup, kmsg.SyncGroup, kmsg.Heartbeat:
				return sessionTimeout
			}
			return requestTimeout
		}),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	}
	all = append(append(all, b.o.Client...), opts...)
	return kgo.NewClient(all...)
}

// Capabilities tells the cluster's limits. The timeout is that of the transactions of epochs.
func (b *Broker) Capabilities() log.Capabilities {
	return log.Capabilities{
		MaxRecordBytes:     int(b.maxBatchBytes) - kgoBatchOverhead,
		TransactionTimeout: b.txnTimeout,
	}
}

// Close closes all members and readers, and the connections. Closing again does nothing.
func (b *Broker) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	open := make([]closer, 0, len(b.closers))
	for c := range b.closers {
		open = append(open, c)
	}
	b.mu.Unlock()
	var errs []error
	for _, c := range open {
		errs = append(errs, c.Close())
	}
	b.client.Close()
	return errors.Join(errs...)
}

// enlist has c closed with the Broker, unless that is closed already.
func (b *Broker) enlist(c closer) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return log.ErrClosed
	}
	b.closers[c] = struct{}{}
	return nil
}

func (b *Broker) delist(c closer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.closers, c)
}

// seen notes that a partition's visible end, its last stable offset, is at least the given offset.
func (b *Broker) seen(tp log.TopicPartition, end int64) {
	v, ok := b.ends.Load(tp)
	if !ok {
		v, _ = b.ends.LoadOrStore(tp, new(atomic.Int64))
	}
	at := v.(*atomic.Int64)
	for {
		old := at.Load()
		if old >= end || at.CompareAndSwap(old, end) {
			return
		}
	}
}

// seenEnd is what seen has noted; 0 if nothing.
func (b *Broker) seenEnd(tp log.TopicPartition) int64 {
	if v, ok := b.ends.Load(tp); ok {
		return v.(*atomic.Int64).Load()
	}
	return 0
}
