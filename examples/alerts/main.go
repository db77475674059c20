// Alerts watches the freezers of a warehouse: it says which of them went silent, and which stay too warm, and answers
// over HTTP what it knows of each.
//
//	go run ./examples/alerts [-data DIR] [-seed N] [-speed N] [-http ADDRESS] [-stay]
//
// Half an hour of generated readings goes by in a few seconds. A Processor keeps the last reading of each freezer in a
// store. Three readings in a row that are too warm are an alert; a single one is not: somebody opened the door. That
// a freezer is silent no record can tell, so a punctuator looks for those that were not heard for a minute: a minute
// of the readings' time, which is the same in each run. Readings that come after newer ones are counted, and change
// nothing.
//
// While it runs, the store can be asked (stream.Query), here over HTTP:
//
//	curl http://ADDRESS/freezers
//	curl http://ADDRESS/freezers/NAME
//
// With -stay it goes on answering when all readings have come, until it is interrupted. Without -data it works in a
// temporary directory; with it, in DIR, and a later run goes on where this one stopped, however it was stopped.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/moldau-io/moldau/examples/internal/demo"
	"github.com/moldau-io/moldau/serde"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

var (
	readings = stream.NewTopic("readings", serde.String, serde.JSON[reading]()) // by freezer
	alerts   = stream.NewTopic("alerts", serde.String, serde.JSON[alert]())     // by freezer
	freezers = state.NewKeyValue("freezers", serde.String, serde.JSON[freezer]())
)

var (
	address string
	stay    bool
)

func main() {
	demo.Main(120, run, func(flags *flag.FlagSet) {
		flags.StringVar(&address, "http", "127.0.0.1:0", "answer over HTTP at this `address`; port 0: one that is free")
		flags.BoolVar(&stay, "stay", false, "when all readings have come, go on answering until interrupted")
	})
}

func topology() (*stream.Topology, error) {
	b := stream.NewBuilder()
	stream.Process(stream.From(b, readings), func() *watchman { return &watchman{} }, stream.Stores(freezers)).To(alerts)
	return b.Build()
}

func run(ctx context.Context, d *demo.Demo) (err error) {
	if err := d.CreateTopics(ctx, 2, readings.Name(), alerts.Name()); err != nil {
		return err
	}
	topology, err := topology()
	if err != nil {
		return err
	}
	app, err := stream.New(topology, stream.Config{ApplicationID: "alerts", Broker: d.Log, Logger: d.Logger})
	if err != nil {
		return err
	}
	known, err := stream.Query(app, freezers)
	if err != nil {
		return err
	}
	desk, err := openDesk(address, known)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, desk.close()) }()

	input := warehouse(d.Seed)
	d.Line("Half an hour of a cold store, %s. Ask it:  curl %s\n", d.Pace(), desk.url)
	n := map[string]int{}
	demo.Follow(d, alerts, func(r stream.Record[string, alert]) {
		n[r.Value.Kind]++
		d.Line("%s  %-11s %s  %s", r.Time().UTC().Format(time.TimeOnly), r.Key, d.Paint(colours[r.Value.Kind], fmt.Sprintf("%-6s", r.Value.Kind)), r.Value)
	})
	stopShowing := desk.show(ctx, d)
	var answer []freezer // of the last question
	d.AtEnd(func(ctx context.Context) error {
		stopShowing()
		var err error
		if answer, err = desk.ask(ctx); err != nil || !stay {
			return err
		}
		d.Line("\nAll readings have come. It goes on answering at %s, until it is interrupted.", desk.url)
		<-ctx.Done()
		return nil
	})
	err = d.Play(ctx, app, input)
	stopShowing()
	if err != nil {
		return err
	}
	late := 0
	for _, f := range answer {
		late += f.Late
	}
	d.Line("\n%d readings, %d of them after a newer one. %d alerts: silent %d, heard again %d, warm %d, cold again %d. Asked at the end, it answered:",
		len(input), late, n["silent"]+n["back"]+n["warm"]+n["cold"], n["silent"], n["back"], n["warm"], n["cold"])
	for _, f := range answer {
		d.Line("  %s", f.describe(d))
	}
	return nil
}

var colours = map[string]demo.Colour{"silent": demo.Yellow, "back": demo.Green, "warm": demo.Red, "cold": demo.Green}
