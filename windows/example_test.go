package windows_test

import (
	"fmt"
	"time"
	_ "time/tzdata"

	"github.com/moldau-io/moldau/windows"
)

// The windows that a timestamp is in, and when each of them closes.
func ExampleHopping() {
	w := windows.Hopping(10*time.Minute, 5*time.Minute).WithGrace(time.Minute)
	at := (12 * time.Minute).Milliseconds()
	for start, ok := w.First(at); ok; start, ok = w.Next(start, at) {
		fmt.Println(time.Duration(start)*time.Millisecond, time.Duration(w.Closes(w.End(start)))*time.Millisecond)
	}
	// Output:
	// 5m0s 16m0s
	// 10m0s 21m0s
}

// Days have the length that they have where they are lived.
func ExampleDay() {
	zone, err := time.LoadLocation("Europe/Prague")
	if err != nil {
		fmt.Println(err)
		return
	}
	w := windows.Day(zone)
	start, _ := w.First(time.Date(2026, time.October, 25, 12, 0, 0, 0, zone).UnixMilli())
	fmt.Println(time.UnixMilli(start).In(zone).Format(time.DateTime), time.Duration(w.End(start)-start)*time.Millisecond)
	// Output: 2026-10-25 00:00:00 25h0m0s
}
