// SPDX-License-Identifier: GPL-2.0-or-later

// A double of a Pyroscope server: the handler that its published API module generates, and every
// profile read and checked by google/pprof. Options as of tests/e2e/push_double.py.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"sync"

	"connectrpc.com/connect"
	"github.com/google/pprof/profile"
	pushv1 "github.com/grafana/pyroscope/api/gen/proto/go/push/v1"
	"github.com/grafana/pyroscope/api/gen/proto/go/push/v1/pushv1connect"
)

var (
	tenant   = flag.String("tenant", "", "the only X-Scope-OrgID")
	basic    = flag.String("basic", "", "USER:PASSWORD")
	bearer   = flag.String("bearer", "", "token")
	cert     = flag.String("cert", "", "TLS certificate")
	key      = flag.String("key", "", "its key")
	fail     = flag.String("fail", "0:0", "N:STATUS for the first N requests")
	dieAfter = flag.Int("die-after", 0, "end after storing so many, without an answer")
)

type stored struct {
	ID     string            `json:"id"`
	Labels map[string]string `json:"labels"`
	Totals map[string]int64  `json:"totals"`
	Tenant *string           `json:"tenant"`
}

type pusher struct {
	mu     sync.Mutex
	store  *os.File
	stored int
}

func refuse(format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, fmt.Errorf(format, args...))
}

func labelsOf(s *pushv1.RawProfileSeries) (map[string]string, error) {
	found := map[string]string{}
	for _, l := range s.Labels {
		found[l.Name] = l.Value
	}
	for _, wanted := range []string{"__name__", "service_name"} {
		if found[wanted] == "" {
			return nil, refuse("%s is required", wanted)
		}
	}
	return found, nil
}

func totalsOf(raw []byte) (map[string]int64, error) {
	p, err := profile.Parse(bytes.NewReader(raw))
	if err == nil {
		err = p.CheckValid()
	}
	if err != nil {
		return nil, refuse("%v", err)
	}
	totals := map[string]int64{}
	for _, s := range p.Sample {
		for i, t := range p.SampleType {
			totals[t.Type] += s.Value[i]
		}
	}
	return totals, nil
}

func (p *pusher) keep(one stored) error {
	line, err := json.Marshal(one)
	if err == nil {
		_, err = p.store.Write(append(line, '\n'))
	}
	p.stored++
	return err
}

func (p *pusher) Push(_ context.Context, r *connect.Request[pushv1.PushRequest]) (*connect.Response[pushv1.PushResponse], error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var owner *string
	if given := r.Header().Get("X-Scope-OrgID"); given != "" {
		owner = &given
	}
	for _, s := range r.Msg.Series {
		labels, err := labelsOf(s)
		for _, sample := range s.Samples {
			var totals map[string]int64
			if err == nil {
				totals, err = totalsOf(sample.RawProfile)
			}
			if err == nil {
				err = p.keep(stored{sample.ID, labels, totals, owner})
			}
		}
		if err != nil {
			return nil, err
		}
	}
	if *dieAfter > 0 && p.stored >= *dieAfter {
		os.Exit(1)
	}
	return connect.NewResponse(&pushv1.PushResponse{}), nil
}

// What stands in front of such a server: who may, and whether it has time.
func gate(next http.Handler) http.Handler {
	var left, status int
	if _, err := fmt.Sscanf(*fail, "%d:%d", &left, &status); err != nil {
		log.Fatal(err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Get("Authorization")
		switch {
		case *basic != "" && given != "Basic "+base64.StdEncoding.EncodeToString([]byte(*basic)),
			*bearer != "" && given != "Bearer "+*bearer:
			w.WriteHeader(http.StatusUnauthorized)
		case left > 0:
			left--
			w.WriteHeader(status)
		case r.Header.Get("X-Scope-OrgID") != *tenant:
			w.WriteHeader(http.StatusBadRequest)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

func main() {
	if len(os.Args) < 3 {
		log.Fatal(errors.New("usage: pyroscope-double ADDRESS STORE [OPTION ...]"))
	}
	if err := flag.CommandLine.Parse(os.Args[3:]); err != nil {
		log.Fatal(err)
	}
	store, err := os.OpenFile(os.Args[2], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle(pushv1connect.NewPusherServiceHandler(&pusher{store: store}))
	server := &http.Server{Addr: os.Args[1], Handler: gate(mux), ErrorLog: log.New(os.Stderr, "", 0)}
	if *cert != "" {
		log.Fatal(server.ListenAndServeTLS(*cert, *key))
	}
	log.Fatal(server.ListenAndServe())
}
