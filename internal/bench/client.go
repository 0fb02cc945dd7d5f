package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// load is what each connection sends: one record a request, under a producer
// of its own.
type load struct {
	topic     string
	producers []int64 // by connection
}

func newLoad(topic string, connections int) load {
	return load{topic: topic, producers: make([]int64, connections)}
}

// record is 100 bytes of value, as JSON.
var record = []byte(`{"records":[{"key":"customer-4711","value":{"account":"4711","amount":"12.50","currency":"EUR","purpose":"a purchase that is counted exactly once"}}]}`)

// sample is one measurement.
type sample struct {
	requests  int
	took      time.Duration
	latencies []time.Duration
}

func (s sample) rate() float64 { return float64(s.requests) / s.took.Seconds() }

// drive sends requests on all connections for a time, each the next as soon as
// the last is answered.
func drive(ctx context.Context, addr string, l load, length time.Duration) (sample, error) {
	var wg sync.WaitGroup
	results := make([]sample, len(l.producers))
	errs := make([]error, len(l.producers))
	start := time.Now()
	for i := range l.producers {
		wg.Go(func() { results[i], errs[i] = drive1(ctx, addr, l.topic, l.producers[i], start.Add(length)) })
	}
	wg.Wait()
	all := sample{took: time.Since(start)}
	for _, r := range results {
		all.requests += r.requests
		all.latencies = append(all.latencies, r.latencies...)
	}
	return all, errors.Join(errs...)
}

func drive1(ctx context.Context, addr, topic string, producer int64, until time.Time) (sample, error) {
	var s sample
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return s, err
	}
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	var out []byte
	for now := time.Now(); now.Before(until) && ctx.Err() == nil; {
		out = appendRequest(out[:0], topic, producer, int64(s.requests))
		if _, err := conn.Write(out); err != nil {
			return s, err
		}
		if err := readAnswer(in); err != nil {
			return s, err
		}
		s.requests++
		answered := time.Now()
		s.latencies = append(s.latencies, answered.Sub(now))
		now = answered
	}
	return s, nil
}

func appendRequest(b []byte, topic string, producer, sequence int64) []byte {
	b = append(b, "POST /v1/topics/"...)
	b = append(b, topic...)
	b = append(b, "/records HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nProducer-Id: "...)
	b = strconv.AppendInt(b, producer, 10)
	b = append(b, "\r\nProducer-Epoch: 0\r\nProducer-Seq: "...)
	b = strconv.AppendInt(b, sequence, 10)
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(record)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, record...)
}

// readAnswer reads one answer, which must be a 200.
func readAnswer(in *bufio.Reader) error {
	status, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200 "))
	length := 0
	first := string(status)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if name := []byte("Content-Length: "); bytes.HasPrefix(line, name) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(name):]))); err != nil {
				return err
			}
		}
	}
	if ok {
		_, err = in.Discard(length)
		return err
	}
	body, err := io.ReadAll(io.LimitReader(in, int64(length)))
	return errors.Join(fmt.Errorf("%s%s", first, body), err)
}
