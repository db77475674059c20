package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/moldau-io/moldau/examples/internal/demo"
	"github.com/moldau-io/moldau/state"
	"github.com/moldau-io/moldau/stream"
)

// desk answers questions over HTTP, with what is committed.
type desk struct {
	known  state.KeyValueReader[string, freezer]
	server *http.Server
	url    string
}

func openDesk(address string, known state.KeyValueReader[string, freezer]) (*desk, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	d := &desk{known: known, url: fmt.Sprintf("http://%s/freezers", l.Addr())}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /freezers", d.all)
	mux.HandleFunc("GET /freezers/{name}", d.one)
	d.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = d.server.Serve(l) }() // until close
	return d, nil
}

func (d *desk) close() error { return d.server.Close() }

// all answers with all freezers, by name.
func (d *desk) all(w http.ResponseWriter, r *http.Request) {
	all := []freezer{}
	for row, err := range d.known.All(r.Context()) {
		if err != nil {
			refuse(w, err)
			return
		}
		all = append(all, row.Value)
	}
	reply(w, all)
}

// one answers with the freezer that is asked for.
func (d *desk) one(w http.ResponseWriter, r *http.Request) {
	v, err := d.known.Get(r.Context(), r.PathValue("name"))
	switch {
	case err != nil:
		refuse(w, err)
	case !v.OK:
		http.Error(w, "nothing was heard of it", http.StatusNotFound)
	default:
		reply(w, v.V)
	}
}

// refuse says why there is no answer: often that the application is starting, or has stopped.
func refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	if errors.Is(err, stream.ErrNotRunning) {
		code = http.StatusServiceUnavailable
	}
	http.Error(w, err.Error(), code)
}

func reply(w http.ResponseWriter, what any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(what) // whoever asked has gone
}

// ask asks for all freezers, as anybody can.
func (d *desk) ask(ctx context.Context) (all []freezer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s", d.url, resp.Status)
	}
	return all, json.NewDecoder(resp.Body).Decode(&all)
}

// show has the screen show what the answer is, several times a second, until stop is called, which may be called again.
func (d *desk) show(ctx context.Context, screen *demo.Demo) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var shows sync.WaitGroup
	shows.Go(func() {
		ticks := time.NewTicker(100 * time.Millisecond)
		defer ticks.Stop()
		for {
			select {
			case <-ticks.C:
			case <-ctx.Done():
				return
			}
			var lines []string
			all, _ := d.ask(ctx) // it may not run yet, or have stopped: then there is nothing to show
			for _, f := range all {
				lines = append(lines, f.describe(screen))
			}
			screen.Status(lines...)
		}
	})
	return func() {
		cancel()
		shows.Wait()
	}
}
