package versus

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/kvorum/kvorum/test/chaos/lab"
)

const (
	// warmUp is the time for which writers run before they are measured.
	warmUp = 500 * time.Millisecond
	// startTimeout is the maximum time until all nodes serve, and askTimeout that of a
	// question to one.
	startTimeout, askTimeout = 60 * time.Second, 2 * time.Second
	// serveTimeout is the maximum wait for the first acknowledged write after a heal.
	serveTimeout = 30 * time.Second
	// readyPoll is the time between two questions whether nodes serve.
	readyPoll = 50 * time.Millisecond
	// attempts is the maximum number of beginnings of a trial, which begins again if there
	// is no single leader before its fault.
	attempts = 5
)

// trial has the results of the writers for one fault.
type trial struct {
	before, during float64       // acknowledged writes per second
	floor          time.Duration // the longest time without one before the fault
	without        time.Duration // and from its beginning on
	served         bool          // a write was acknowledged after the heal
	failed         int           // requests
	led, leads     string        // the hosts that led before the fault and at the trial's end
}

// share returns the throughput during the fault as a part of that before.
func (t trial) share() float64 { return t.during / t.before }

// errNotMade is returned if a fault could not be made, which shows nothing about the
// program.
var errNotMade = errors.New("the fault could not be made")

// errNoRoles is returned if there was no single leader before a fault: there was an
// election for another reason, such as a pause of the machine.
var errNoRoles = errors.New("no one node leads")

// stage is a cluster that runs in a Lab.
type stage struct {
	cfg       Config
	contender Contender
	lab       lab.Lab
	hosts     []lab.Host
	client    *http.Client
	round     int // counted from 0
}

// tryUntilMade makes one fault. A trial that ends before its fault is begun again.
func (s *stage) tryUntilMade(ctx context.Context, f fault) (t trial, err error) {
	for range attempts {
		if t, err = s.try(ctx, f); !errors.Is(err, errNoRoles) {
			break
		}
		s.cfg.Say("%d %-6s %-28s begun again: %v", s.round+1, s.contender.Name, f.name, err)
	}
	return t, err
}

// try makes one fault while writers write. It begins and ends with a cluster of which
// every node serves.
func (s *stage) try(ctx context.Context, f fault) (t trial, err error) {
	if _, err := s.awaitReady(ctx); err != nil {
		return t, err
	}
	w := startWriters(ctx, s.contender, s.urls(), s.cfg.Writers, s.cfg.Timeout)
	defer w.stop()
	sleep(ctx, warmUp)
	measured := w.now()
	sleep(ctx, s.cfg.Steady)
	r, err := s.roles(ctx)
	if err != nil {
		return t, fmt.Errorf("%w: %w", errNoRoles, err)
	}
	began := w.now()
	healed, err := s.breaks(ctx, w, f, r)
	if err != nil {
		return t, err
	}
	t.served = w.awaitAck(ctx, healed, serveTimeout)
	sleep(ctx, s.cfg.Settle)
	ended := w.now()
	acks, failed := w.stop()
	if ctx.Err() != nil {
		return t, ctx.Err()
	}
	t.before, t.during = acks.rate(measured, began), acks.rate(began, healed)
	t.floor, t.without = acks.longestGap(measured, began), acks.longestGap(began, ended)
	t.failed, t.led = failed, r.leader.Name()
	if t.before == 0 {
		return t, errors.New("no write was acknowledged before the fault")
	}
	after, err := s.awaitReady(ctx)
	if err != nil {
		return t, err
	}
	t.leads = after.leader.Name()
	return t, nil
}

// breaks makes a fault, heals it when its time is over, and returns the moment at which the
// heal began. It also heals a fault that was only made in part.
func (s *stage) breaks(ctx context.Context, w *writers, f fault, r roles) (healed time.Duration, err error) {
	over := w.now() + s.cfg.During
	err = f.begin(ctx, s.lab, r)
	if err != nil {
		err = fmt.Errorf("%w: %w", errNotMade, err)
	} else {
		sleep(ctx, over-w.now())
	}
	healed = w.now()
	// After the end of ctx the Lab's Close ends the faults.
	if failed := f.heal(ctx, s.lab, r); failed != nil && ctx.Err() == nil {
		return healed, errors.Join(err, fmt.Errorf("heal: %w", failed))
	}
	return healed, err
}

func (s *stage) urls() []string {
	var urls []string
	for _, h := range s.hosts {
		urls = append(urls, h.URL())
	}
	return urls
}

// awaitReady waits until every node acknowledges a write and one node leads, and returns
// the roles then.
func (s *stage) awaitReady(ctx context.Context) (roles, error) {
	for deadline := time.Now().Add(startTimeout); ; sleep(ctx, readyPoll) {
		r, err := s.ready(ctx)
		switch {
		case err == nil:
			return r, nil
		case ctx.Err() != nil:
			return r, ctx.Err()
		case time.Now().After(deadline):
			return r, fmt.Errorf("%s does not serve within %v: %w", s.contender.Name, startTimeout, err)
		}
	}
}

func (s *stage) ready(ctx context.Context) (roles, error) {
	for _, h := range s.hosts {
		if err := s.serves(ctx, h); err != nil {
			return roles{}, fmt.Errorf("%s: %w", h.Name(), err)
		}
	}
	return s.roles(ctx)
}

// serves returns nil if a host acknowledges a write.
func (s *stage) serves(ctx context.Context, h lab.Host) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := s.contender.put(ctx, h.URL(), "versus-ready", []byte(h.Name()))
	if err != nil {
		return err
	}
	_, err = send(s.client, req)
	return err
}

// roles asks all hosts which of them leads. The follower differs from round to round.
func (s *stage) roles(ctx context.Context) (r roles, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	for _, h := range s.hosts {
		leads, err := s.contender.leads(ctx, s.client, h.URL())
		switch {
		case err != nil:
			return r, fmt.Errorf("ask %s who leads: %w", h.Name(), err)
		case !leads:
			r.followers = append(r.followers, h)
		case r.leader != nil:
			return r, fmt.Errorf("both %s and %s say that they lead", r.leader.Name(), h.Name())
		default:
			r.leader = h
		}
	}
	if r.leader == nil {
		return r, errors.New("no node says that it leads")
	}
	r.follower = r.followers[s.round%len(r.followers)]
	return r, nil
}
