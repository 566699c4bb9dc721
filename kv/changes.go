package kv

// changes are the changes of the operations of one branch, with those of both branches of
// its nested requests.
type changes struct {
	written map[string]bool // keys of operations on one key
	deleted []Span          // that have an end
}

// checkChanges refuses a request whose branches change a key twice. The rule is that of
// etcd: a key may be written once, and not beside a delete of it, in the same request or in
// an outer one. Deletes may overlap. The branches of a nested request exclude each other,
// so both may write one key. A delete without an end is not looked at.
func (r *Request) checkChanges() *ValidationError {
	for _, branch := range [][]Op{r.Then, r.Else} {
		if _, err := changesOf(branch); err != nil {
			return err
		}
	}
	return nil
}

// changesOf returns the changes of a branch, or why they exclude each other.
func changesOf(ops []Op) (changes, *ValidationError) {
	all := changes{written: make(map[string]bool)}
	for i := range ops {
		if o := &ops[i]; o.Kind == OpDelete && o.Span.End != "" {
			all.deleted = append(all.deleted, o.Span)
		}
	}
	for i := range ops {
		if ops[i].Kind == OpRequest {
			if err := all.addNested(ops[i].Nested); err != nil {
				return all, err
			}
		}
	}
	for i := range ops {
		switch o := &ops[i]; o.Kind {
		case OpPut, OpAdd, OpAppend, OpTouch, OpPersist:
			if err := all.write(o.Key); err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

// addNested adds the changes of a nested request. Its deletes are for what comes after it:
// a later nested request, or this level.
func (c *changes) addNested(r *Request) *ValidationError {
	then, err := changesOf(r.Then)
	if err != nil {
		return err
	}
	other, err := changesOf(r.Else)
	if err != nil {
		return err
	}
	for key := range then.written {
		if err := c.write(key); err != nil {
			return err
		}
	}
	for key := range other.written {
		if then.written[key] {
			continue // only one of the branches is done
		}
		if err := c.write(key); err != nil {
			return err
		}
	}
	c.deleted = append(append(c.deleted, then.deleted...), other.deleted...)
	return nil
}

// write adds a key that is written, unless it is written already or deleted.
func (c *changes) write(key string) *ValidationError {
	if c.written[key] {
		return invalidf("", "changes the key %s twice", quote(key))
	}
	for _, span := range c.deleted {
		if span.Contains(key) {
			return invalidf("", "changes the key %s, which it deletes too", quote(key))
		}
	}
	c.written[key] = true
	return nil
}
