package main

import (
	"fmt"
	"time"

	"github.com/moldau-io/moldau/examples/internal/demo"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

const (
	tooWarm   = -15.0            // °C, and above
	inARow    = 3                // readings, for an alert
	silentFor = time.Minute      // for an alert
	lookEach  = 10 * time.Second // of the readings' time
)

// reading is what a freezer says. The freezer is the record's key, the moment its timestamp.
type reading struct {
	Celsius float64 `json:"celsius"`
}

// alert says what became of a freezer: it is "silent", and "back", or "warm", and "cold" again.
type alert struct {
	Kind      string  `json:"kind"`
	Celsius   float64 `json:"celsius"`
	SilentFor int64   `json:"silentSeconds,omitempty"`
}

func (a alert) String() string {
	if a.Kind == "silent" {
		return "nothing heard for " + (time.Duration(a.SilentFor) * time.Second).String()
	}
	return fmt.Sprintf("%5.1f °C", a.Celsius)
}

// freezer is what is known of one, as of its newest reading.
type freezer struct {
	Name    string    `json:"name"`
	Heard   time.Time `json:"heard"`
	Celsius float64   `json:"celsius"`
	Warm    int       `json:"warmInARow"`
	Alert   string    `json:"alert,omitempty"` // "silent" or "warm"
	Late    int       `json:"late"`            // readings that came after newer ones
}

// describe is a line that changes colour with what there is to be said.
func (f freezer) describe(d *demo.Demo) string {
	colour, ok := colours[f.Alert]
	if !ok {
		colour = demo.Cyan
	}
	bar := demo.Bar(int(10*(f.Celsius+25)), 150, 15)
	return fmt.Sprintf("%-11s %5.1f °C %s heard at %s  %s", f.Name, f.Celsius, d.Paint(colour, bar), f.Heard.Format(time.TimeOnly), d.Paint(colour, f.Alert))
}

// watchman is the processor.
type watchman struct {
	ctx   *stream.Context[string, alert]
	known *state.KeyValues[string, freezer]
}

// Init is called when the task starts. The punctuator goes on where it was before, whatever happened in between.
func (w *watchman) Init(ctx *stream.Context[string, alert]) error {
	w.ctx, w.known = ctx, stream.StoreIn(ctx, freezers)
	ctx.Every(lookEach, stream.StreamTime, w.lookForSilent)
	return nil
}

// Process takes a reading.
func (w *watchman) Process(_ *stream.Context[string, alert], r stream.Record[string, reading]) error {
	row, err := w.known.Get(r.Key)
	if err != nil {
		return err
	}
	f := row.V
	if row.OK && !r.Time().After(f.Heard) {
		f.Late++
		return w.known.Put(r.Key, f)
	}
	before := f.Alert
	f.Name, f.Heard, f.Celsius = r.Key, r.Time().UTC(), r.Value.Celsius
	if f.Celsius >= tooWarm {
		f.Warm++
	} else {
		f.Warm = 0
	}
	switch {
	case f.Warm >= inARow:
		f.Alert = "warm"
	case before == "silent" || f.Warm == 0:
		f.Alert = ""
	}
	if before != f.Alert {
		kind := f.Alert
		if kind == "" {
			kind = map[string]string{"silent": "back", "warm": "cold"}[before]
		}
		if err := w.ctx.Forward(stream.Record[string, alert]{Key: r.Key, Value: alert{Kind: kind, Celsius: f.Celsius}, Timestamp: r.Timestamp}); err != nil {
			return err
		}
	}
	return w.known.Put(r.Key, f)
}

// lookForSilent is the punctuator: it looks at all freezers of its partition.
func (w *watchman) lookForSilent(nowMs int64) error {
	for row, err := range w.known.All() {
		if err != nil {
			return err
		}
		f := row.Value
		silence := time.UnixMilli(nowMs).Sub(f.Heard)
		if silence < silentFor || f.Alert == "silent" {
			continue
		}
		f.Alert, f.Warm = "silent", 0
		a := alert{Kind: "silent", Celsius: f.Celsius, SilentFor: int64(silence / time.Second)}
		if err := w.ctx.Forward(stream.Record[string, alert]{Key: row.Key, Value: a, Timestamp: nowMs}); err != nil {
			return err
		}
		if err := w.known.Put(row.Key, f); err != nil {
			return err
		}
	}
	return nil
}
