package chronicle

import (
	"fmt"
	"strings"

	"github.com/kvorum/kvorum/kv"
)

// words describes an item, events, a request or a response for people.
func words(v any) string {
	switch v := v.(type) {
	case kv.Item:
		return itemWords(v)
	case kv.Event:
		return eventWords(v)
	case []kv.Event:
		return listWords(v, eventWords)
	case kv.Request:
		return requestWords(v)
	case kv.Response:
		return responseWords(v)
	}
	return fmt.Sprintf("%+v", v)
}

func listWords[T any](list []T, one func(T) string) string {
	all := make([]string, len(list))
	for i, v := range list {
		all[i] = one(v)
	}
	return "[" + strings.Join(all, ", ") + "]"
}

func itemWords(it kv.Item) string {
	if it.Key == "" {
		return "none"
	}
	text := fmt.Sprintf("%s=%q (created %d, changed %d, version %d", it.Key, it.Value, it.CreateRevision, it.ModRevision, it.Version)
	if it.Flags != 0 || it.ContentType != "" {
		text += fmt.Sprintf(", flags %d, %q", it.Flags, it.ContentType)
	}
	return text + ")"
}

func eventWords(e kv.Event) string {
	text := fmt.Sprintf("%v %s", e.Kind, itemWords(e.Item))
	if e.Prev != nil {
		text += " after " + itemWords(*e.Prev)
	}
	return text
}

func requestWords(r kv.Request) string {
	text := "{"
	if len(r.If) > 0 {
		text += "if " + listWords(r.If, compareWords) + " "
	}
	text += "then " + listWords(r.Then, opWords)
	if len(r.Else) > 0 {
		text += " else " + listWords(r.Else, opWords)
	}
	return text + "}"
}

func compareWords(c kv.Compare) string {
	part := [...]string{"?", "value", "version", "create revision", "revision", "lease"}[min(int(c.Target), 5)]
	relation := [...]string{"?", "=", "!=", ">", "<"}[min(int(c.Relation), 4)]
	if c.Target == kv.TargetValue {
		return fmt.Sprintf("%s of %v %s %q", part, c.Span, relation, c.Value)
	}
	return fmt.Sprintf("%s of %v %s %d", part, c.Span, relation, c.Number)
}

func opWords(o kv.Op) string {
	prev := ""
	if o.WantPrev {
		prev = " with prev"
	}
	switch o.Kind {
	case kv.OpPut:
		return fmt.Sprintf("put %s=%q%s", o.Key, o.Value, prev)
	case kv.OpAdd:
		return fmt.Sprintf("add %d to %s%s", o.Delta, o.Key, prev)
	case kv.OpAppend:
		return fmt.Sprintf("append %q to %s up to %d%s", o.Value, o.Key, o.MaxBytes, prev)
	case kv.OpDelete:
		return fmt.Sprintf("delete %v%s", o.Span, prev)
	case kv.OpRange:
		if o.Range == nil {
			return fmt.Sprintf("range %v", o.Span)
		}
		return fmt.Sprintf("range %v %+v", o.Span, *o.Range)
	}
	return requestWords(*o.Nested)
}

func responseWords(r kv.Response) string {
	branch := "else"
	if r.Succeeded {
		branch = "then"
	}
	return fmt.Sprintf("{%s at %d: %s}", branch, r.Revision, listWords(r.Results, resultWords))
}

func resultWords(r kv.Result) string {
	if r.Nested != nil {
		return responseWords(*r.Nested)
	}
	text := fmt.Sprintf("existed %t, revision %d, number %d, deleted %d, count %d, more %t", r.Existed, r.ModRevision, r.Number, r.Deleted, r.Count, r.More)
	if r.Prev != nil {
		text += ", before " + itemWords(*r.Prev)
	}
	if len(r.Items) > 0 {
		text += ", items " + listWords(r.Items, itemWords)
	}
	return text
}
