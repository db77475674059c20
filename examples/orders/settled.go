package main

import (
	"fmt"

	"github.com/moldau-io/moldau/examples/internal/demo"
)

type order struct {
	Customer string `json:"customer"`
	Cents    int64  `json:"cents"`
}

type payment struct {
	Cents int64 `json:"cents"`
}

type customer struct {
	Name    string `json:"name"`
	Country string `json:"country"`
}

// settled is an order at its end. What is owed back has no customer: the order is not known.
type settled struct {
	Order    string `json:"order"`
	State    string `json:"state"` // paid, unpaid or owed back
	Customer string `json:"customer"`
	Name     string `json:"name"`
	Country  string `json:"country"`
	Cents    int64  `json:"cents"`
}

var colours = map[string]demo.Colour{"paid": demo.Green, "unpaid": demo.Red, "owed back": demo.Yellow}

func (s settled) who() string {
	switch {
	case s.State == "owed back":
		return "nobody ordered this in time"
	case s.Name == "":
		return s.Customer + ", not in the table"
	}
	return s.Name + ", " + s.Country
}

func money(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }
