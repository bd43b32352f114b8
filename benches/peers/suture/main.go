// suture 4: names, restarts with backoff, events (ignored here), which services there are; no groups, no state of a
// service, no journal.
package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"runtime"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/thejerf/suture/v4"
)

const (
	restarts = 200_000
	failures = 1_000
	timeout  = 300 * time.Second
)

type figure struct {
	name  string
	value float64
}

var operations = map[string]func(int) []figure{
	"start":        start,
	"memory":       memoryPerChild,
	"shutdown":     shutdown,
	"restart":      func(int) []figure { return crashLoops(1) },
	"restart_1000": func(int) []figure { return crashLoops(1000) },
	"latency":      latency,
	"add_remove":   addRemove,
	"state":        state,
}

func main() {
	runtime.GOMAXPROCS(2)
	if len(os.Args) != 3 {
		panic("OPERATION SIZE")
	}
	size, err := strconv.Atoi(os.Args[2])
	check(err)
	operation, known := operations[os.Args[1]]
	if !known {
		fmt.Printf("{\"unknown\": %q}\n", os.Args[1])
		return
	}
	var taken []string
	for _, figure := range operation(size) {
		taken = append(taken, fmt.Sprintf("%q: %f", figure.name, figure.value))
	}
	fmt.Printf("{\"operation\": %q, \"size\": %d, \"taken\": {%s}}\n", os.Args[1], size, strings.Join(taken, ", "))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func assert(holds bool) {
	if !holds {
		panic("the work was not done")
	}
}

func each(took time.Duration, of int) []figure {
	return []figure{{"ns", float64(took.Nanoseconds()) / float64(of)}}
}

// A count that tells when it has got where it is wanted.
type done struct {
	count, wanted atomic.Int64
	enough        chan struct{}
}

func newDone() *done {
	done := &done{enough: make(chan struct{}, 1)}
	done.wanted.Store(math.MaxInt64)
	return done
}

func (done *done) one() int {
	count := done.count.Add(1)
	if count >= done.wanted.Load() {
		select {
		case done.enough <- struct{}{}:
		default:
		}
	}
	return int(count)
}

func (done *done) reach(count int) {
	done.wanted.Store(int64(count))
	for done.count.Load() < int64(count) {
		<-done.enough
	}
	done.wanted.Store(math.MaxInt64)
}

type tree struct {
	supervisor   *suture.Supervisor
	stop         context.CancelFunc
	stopped      <-chan error
	begun, ended *done
}

// Restarts at once and for ever, and says nothing.
func newTree() *tree {
	supervisor := suture.New("bench", suture.Spec{
		EventHook:         func(suture.Event) {},
		FailureThreshold:  math.Inf(1),
		Timeout:           timeout,
		PassThroughPanics: true,
	})
	return &tree{supervisor: supervisor, begun: newDone(), ended: newDone()}
}

func (tree *tree) serve() {
	ctx, stop := context.WithCancel(context.Background())
	tree.stop, tree.stopped = stop, tree.supervisor.ServeBackground(ctx)
}

func (tree *tree) addIdles(n int) {
	for c := 0; c < n; c++ {
		tree.supervisor.Add(&idle{"c" + strconv.Itoa(c), tree.begun, tree.ended})
	}
}

func (tree *tree) running() int {
	return int(tree.begun.count.Load() - tree.ended.count.Load())
}

func idles(n int) *tree {
	tree := newTree()
	tree.addIdles(n)
	tree.serve()
	tree.begun.reach(n)
	return tree
}

type idle struct {
	name         string
	begun, ended *done
}

func (idle *idle) String() string { return idle.name }

func (idle *idle) Serve(ctx context.Context) error {
	idle.begun.one()
	<-ctx.Done()
	idle.ended.one()
	return ctx.Err()
}

func start(n int) []figure {
	began := time.Now()
	tree := idles(n)
	took := time.Since(began)
	assert(len(tree.supervisor.Services()) == n && tree.running() == n)
	return each(took, n)
}

func memoryPerChild(n int) []figure {
	before := resident()
	tree := idles(n)
	after := resident()
	assert(len(tree.supervisor.Services()) == n && tree.running() == n)
	return []figure{{"bytes", float64(after-before) / float64(n)}}
}

var rss = regexp.MustCompile(`VmRSS:\s+(\d+)`)

func resident() int {
	status, err := os.ReadFile("/proc/self/status")
	check(err)
	kib, err := strconv.Atoi(string(rss.FindSubmatch(status)[1]))
	check(err)
	return kib * 1024
}

func shutdown(n int) []figure {
	tree := idles(n)
	began := time.Now()
	tree.stop()
	<-tree.stopped
	took := time.Since(began)
	unstopped, err := tree.supervisor.UnstoppedServiceReport()
	check(err)
	assert(len(unstopped) == 0 && tree.running() == 0)
	return each(took, n)
}

// Fails as soon as it runs, until it has run so often.
type crashes struct {
	name string
	runs *done
	over chan struct{}
}

func (crashes *crashes) String() string { return crashes.name }

var errAsItDoes = errors.New("as it does")

func (crashes *crashes) Serve(ctx context.Context) error {
	run := crashes.runs.one()
	if run < restarts {
		return errAsItDoes
	}
	if run == restarts {
		close(crashes.over)
	}
	<-ctx.Done()
	return ctx.Err()
}

func crashLoops(children int) []figure {
	tree, over := newTree(), make(chan struct{})
	began := time.Now()
	for c := 0; c < children; c++ {
		tree.supervisor.Add(&crashes{"c" + strconv.Itoa(c), tree.begun, over})
	}
	tree.serve()
	<-over
	took := time.Since(began)
	assert(tree.begun.count.Load() >= restarts)
	return each(took, restarts)
}

type probe struct {
	fail     chan struct{}
	begun    chan time.Duration
	failedAt time.Time
}

func (probe *probe) String() string { return "probe" }

func (probe *probe) Serve(context.Context) error {
	probe.begun <- time.Since(probe.failedAt)
	<-probe.fail
	probe.failedAt = time.Now()
	return errAsItDoes
}

func latency(n int) []figure {
	tree := newTree()
	probe := &probe{fail: make(chan struct{}), begun: make(chan time.Duration, 1)}
	tree.addIdles(n)
	tree.supervisor.Add(probe)
	tree.serve()
	tree.begun.reach(n)
	<-probe.begun
	times := make([]time.Duration, failures)
	for failure := range times {
		time.Sleep(500 * time.Microsecond)
		probe.fail <- struct{}{}
		times[failure] = <-probe.begun
	}
	sort.Slice(times, func(one, other int) bool { return times[one] < times[other] })
	at := func(share int) float64 { return float64(times[(failures-1)*share/100].Nanoseconds()) }
	return []figure{{"p50_ns", at(50)}, {"p99_ns", at(99)}}
}

func addRemove(n int) []figure {
	const times = 5_000
	tree, begun, ended := idles(n), newDone(), newDone()
	began := time.Now()
	for time := 1; time <= times; time++ {
		more := tree.supervisor.Add(&idle{"more", begun, ended})
		begun.reach(time)
		check(tree.supervisor.RemoveAndWait(more, timeout))
	}
	took := time.Since(began)
	assert(ended.count.Load() == times && tree.running() == n)
	return each(took, times)
}

func state(n int) []figure {
	const times = 20
	tree := idles(n)
	began := time.Now()
	for time := 0; time < times; time++ {
		assert(len(tree.supervisor.Services()) == n)
	}
	return each(time.Since(began)/times, n)
}
