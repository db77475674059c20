package main

// click is what somebody did. The user is the record's key, the moment its timestamp.
type click struct {
	Page string `json:"page"`
}

// visit is what is known of a session, beside who and when.
type visit struct {
	Clicks int            `json:"clicks"`
	Pages  map[string]int `json:"pages"`
	Bought bool           `json:"bought"`
}

func (v visit) add(page string, n int) visit {
	v.Clicks += n
	v.Pages[page] += n
	v.Bought = v.Bought || page == "/thanks"
	return v
}

// newVisit is what a session has before its first click.
func newVisit() visit { return visit{Pages: map[string]int{}} }

// merge is the visit that two are part of.
func merge(_ string, a, b visit) visit {
	for page, n := range b.Pages {
		a = a.add(page, n)
	}
	return a
}
