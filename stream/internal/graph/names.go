package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName keeps room in a topic name (249 bytes) for the application's id and the suffix.
const maxName = 120

// name gives every node its name: the pinned one, a source's topic, that of the operator it is a part of, a dash
// and which part, or the parents' names, a dot, the operator and its ordinal among the first parent's children of
// that operator. So only a sibling of the same operator that is added before it changes a node's name.
func (g *Graph) name() {
	for _, n := range g.Nodes {
		if n.Kind == Source && n.Topic.Repartition && n.Topic.Name == "" {
			n.Topic.Name = n.Topic.Owner.Name
		}
		switch {
		case n.Pinned != "":
			n.Name = n.Pinned
		case n.Kind == Source && n.Topic.Repartition:
			n.Name = shorten(n.Topic.Name + ".repartitioned")
		case n.Kind == Source || n.Kind == GlobalSource:
			n.Name = n.Topic.Name
		case n.Of != nil:
			n.Name = shorten(n.Of.Name + "-" + n.Part)
		default:
			after := n.After
			if after == nil {
				after = n.Parents
			}
			names := make([]string, len(after))
			for i, p := range after {
				names[i] = p.Name
			}
			n.Name = shorten(strings.Join(names, "_") + "." + lowerFirst(n.Op) + strconv.Itoa(ordinal(n)))
		}
		if n.Store != nil && n.Store.Name == "" {
			n.Store.Name = n.Name
		}
	}
}

func ordinal(n *Node) int {
	if len(n.Parents) == 0 {
		return 1 // of a topology with a fault: FromAll of no topic
	}
	i := 0
	for _, sibling := range n.Parents[0].children {
		if sibling.Op == n.Op && sibling.Of == nil {
			i++
		}
		if sibling == n {
			break
		}
	}
	return i
}

// shorten cuts a name that would not fit a topic's, and keeps it unique with a hash of the whole.
func shorten(name string) string {
	if len(name) <= maxName {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return name[:maxName-17] + "-" + hex.EncodeToString(sum[:8])
}

func lowerFirst(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[size:]
}
