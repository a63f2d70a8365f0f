// SPDX-License-Identifier: GPL-2.0-or-later

// A double of a server that takes OTLP profiles over HTTP: requests are decoded by OpenTelemetry's
// published Go module, whatever it does not know is refused, and so is what the comments of its
// messages forbid. Options as of tests/e2e/push_double.py.
package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"

	collector "go.opentelemetry.io/proto/slim/otlp/collector/profiles/v1development"
	profiles "go.opentelemetry.io/proto/slim/otlp/profiles/v1development"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

var (
	tenant   = flag.String("tenant", "", "the only X-Scope-OrgID")
	basic    = flag.String("basic", "", "USER:PASSWORD")
	bearer   = flag.String("bearer", "", "token")
	cert     = flag.String("cert", "", "TLS certificate")
	key      = flag.String("key", "", "its key")
	fail     = flag.String("fail", "0:0", "N:STATUS for the first N requests")
	dieAfter = flag.Int("die-after", 0, "end after storing so many, without an answer")
	reject   = flag.String("reject", "", "say yes, but that the profiles are not taken, with this message")
)

type stored struct {
	ID     string            `json:"id"`
	Labels map[string]string `json:"labels"`
	Totals map[string]int64  `json:"totals"`
	Units  map[string]string `json:"units"`
	Stacks map[string]int64  `json:"stacks"` // of inuse_space: "type;module+0xoffset|function:file:line;..."
	Tenant *string           `json:"tenant"`
}

type server struct {
	mu         sync.Mutex
	store      *os.File
	stored     int
	left, code int
}

// What the module does not know is a mistake here.
func unknown(m protoreflect.Message) error {
	var found error
	if len(m.GetUnknown()) > 0 {
		return fmt.Errorf("%s has unknown fields", m.Descriptor().FullName())
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() == nil {
			return true
		}
		if !f.IsList() {
			found = unknown(v.Message())
			return found == nil
		}
		for i := 0; i < v.List().Len() && found == nil; i++ {
			found = unknown(v.List().Get(i).Message())
		}
		return found == nil
	})
	return found
}

// The first element is the zero value, and no two are equal.
func checkTable[M proto.Message](name string, table []M) error {
	seen := map[string]bool{}
	for i, m := range table {
		bytes, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		switch {
		case err != nil:
			return err
		case i == 0 && len(bytes) > 0:
			return fmt.Errorf("%s[0] is not the zero value", name)
		case seen[string(bytes)]:
			return fmt.Errorf("%s[%d] is there already", name, i)
		}
		seen[string(bytes)] = true
	}
	if len(table) == 0 {
		return fmt.Errorf("%s is empty", name)
	}
	return nil
}

func checkDictionary(d *profiles.ProfilesDictionary) error {
	seen := map[string]bool{}
	for i, s := range d.StringTable {
		if (i == 0) != (s == "") || seen[s] {
			return fmt.Errorf("string_table[%d] is %q", i, s)
		}
		seen[s] = true
	}
	if len(d.StringTable) == 0 {
		return errors.New("string_table is empty")
	}
	return errors.Join(checkTable("mapping_table", d.MappingTable), checkTable("location_table", d.LocationTable),
		checkTable("function_table", d.FunctionTable), checkTable("link_table", d.LinkTable),
		checkTable("attribute_table", d.AttributeTable), checkTable("stack_table", d.StackTable))
}

// A reader of one dictionary, which notes what was asked for: an index beyond a table panics.
type reader struct {
	d    *profiles.ProfilesDictionary
	used map[string]map[int32]bool
}

func (r *reader) note(table string, i int32) int32 {
	if r.used[table] == nil {
		r.used[table] = map[int32]bool{0: true}
	}
	r.used[table][i] = true
	return i
}

func (r *reader) text(i int32) string { return r.d.StringTable[r.note("string", i)] }

func (r *reader) attributes(indices []int32) string {
	var all []string
	for _, i := range indices {
		a := r.d.AttributeTable[r.note("attribute", i)]
		if i == 0 || a.KeyStrindex == 0 {
			panic("an attribute without a key")
		}
		value := a.Value.GetStringValue()
		if value == "" {
			value = fmt.Sprint(a.Value.GetIntValue())
		}
		all = append(all, r.text(a.KeyStrindex)+"="+value+r.text(a.UnitStrindex))
	}
	return strings.Join(all, ",")
}

func (r *reader) location(i int32) string {
	l := r.d.LocationTable[r.note("location", i)]
	m := r.d.MappingTable[r.note("mapping", l.MappingIndex)]
	r.attributes(l.AttributeIndices)
	r.attributes(m.AttributeIndices)
	text := ""
	if l.MappingIndex != 0 {
		text = fmt.Sprintf("%s+%#x", r.text(m.FilenameStrindex), l.Address)
	}
	for _, line := range l.Lines {
		f := r.d.FunctionTable[r.note("function", line.FunctionIndex)]
		if f.NameStrindex == 0 && f.SystemNameStrindex == 0 && f.FilenameStrindex == 0 {
			panic("a function without a name")
		}
		r.text(f.SystemNameStrindex)
		text += fmt.Sprintf("|%s:%s:%d", r.text(f.NameStrindex), r.text(f.FilenameStrindex), line.Line)
	}
	return text
}

func (r *reader) stack(s *profiles.Sample) string {
	var all []string
	for _, i := range r.d.StackTable[r.note("stack", s.StackIndex)].LocationIndices {
		if i == 0 {
			panic("a location that is none")
		}
		all = append(all, r.location(i))
	}
	if s.LinkIndex != 0 {
		panic("a link")
	}
	if more := r.attributes(s.AttributeIndices); more != "" {
		all = append(all, "{"+more+"}")
	}
	return strings.Join(all, ";")
}

func (r *reader) profile(p *profiles.Profile, to *stored) {
	if len(p.ProfileId) != 16 || strings.Trim(string(p.ProfileId), "\x00") == "" || p.TimeUnixNano == 0 {
		panic("a profile without an id or a time")
	}
	kind := r.text(p.SampleType.TypeStrindex)
	if kind == "" || r.text(p.SampleType.UnitStrindex) == "" {
		panic("a value without type or unit")
	}
	to.Units[kind] = r.text(p.SampleType.UnitStrindex)
	if to.ID == "" {
		to.ID = hex.EncodeToString(p.ProfileId)
	}
	for _, s := range p.Samples {
		if len(s.Values) != 1 || len(s.TimestampsUnixNano) > 0 {
			panic("samples are of different shapes")
		}
		to.Totals[kind] += s.Values[0]
		to.Stacks[kind+";"+r.stack(s)] += s.Values[0]
	}
}

func (r *reader) orphans() error {
	for name, n := range map[string]int{"string": len(r.d.StringTable), "attribute": len(r.d.AttributeTable),
		"location": len(r.d.LocationTable), "mapping": len(r.d.MappingTable), "function": len(r.d.FunctionTable),
		"stack": len(r.d.StackTable)} {
		if len(r.used[name]) != max(n, 1) && !(n == 1 && r.used[name] == nil) {
			return fmt.Errorf("%d elements of %s_table, %d are used", n, name, len(r.used[name]))
		}
	}
	return nil
}

func read(q *collector.ExportProfilesServiceRequest, owner *string) (all []stored, err error) {
	defer func() {
		if bad := recover(); bad != nil {
			err = fmt.Errorf("%v", bad)
		}
	}()
	if err := errors.Join(unknown(q.ProtoReflect()), checkDictionary(q.Dictionary)); err != nil {
		return nil, err
	}
	r := &reader{d: q.Dictionary, used: map[string]map[int32]bool{}}
	for _, resource := range q.ResourceProfiles {
		one := stored{Labels: map[string]string{}, Totals: map[string]int64{}, Units: map[string]string{},
			Stacks: map[string]int64{}, Tenant: owner}
		for _, a := range resource.Resource.Attributes {
			one.Labels[a.Key] = a.Value.GetStringValue()
		}
		if one.Labels["service.name"] == "" {
			return nil, errors.New("service.name is required")
		}
		seen := map[string]bool{}
		for _, scope := range resource.ScopeProfiles {
			for _, p := range scope.Profiles {
				if seen[string(p.ProfileId)] {
					return nil, errors.New("two profiles of one id")
				}
				seen[string(p.ProfileId)] = true
				r.profile(p, &one)
			}
		}
		all = append(all, one)
	}
	return all, r.orphans()
}

func (s *server) take(r *http.Request) error {
	if r.Header.Get("Content-Type") != "application/x-protobuf" {
		return fmt.Errorf("content type %q", r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var q collector.ExportProfilesServiceRequest
	if err := proto.Unmarshal(body, &q); err != nil {
		return err
	}
	var owner *string
	if given := r.Header.Get("X-Scope-OrgID"); given != "" {
		owner = &given
	}
	all, err := read(&q, owner)
	for _, one := range all {
		if err != nil {
			break
		}
		var line []byte
		if line, err = json.Marshal(one); err == nil {
			_, err = s.store.Write(append(line, '\n'))
		}
		s.stored++
	}
	return err
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	given := r.Header.Get("Authorization")
	switch {
	case r.URL.Path != "/v1development/profiles" || r.Method != http.MethodPost:
		w.WriteHeader(http.StatusNotFound)
		return
	case *basic != "" && given != "Basic "+base64.StdEncoding.EncodeToString([]byte(*basic)),
		*bearer != "" && given != "Bearer "+*bearer:
		w.WriteHeader(http.StatusUnauthorized)
		return
	case s.left > 0:
		s.left--
		w.WriteHeader(s.code)
		return
	case r.Header.Get("X-Scope-OrgID") != *tenant:
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	answer := &collector.ExportProfilesServiceResponse{}
	if *reject != "" {
		answer.PartialSuccess = &collector.ExportProfilesPartialSuccess{RejectedProfiles: 1, ErrorMessage: *reject}
	} else if err := s.take(r); err != nil {
		log.Print(err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if *dieAfter > 0 && s.stored >= *dieAfter {
		os.Exit(1)
	}
	bytes, err := proto.Marshal(answer)
	if err != nil {
		log.Fatal(err)
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	if _, err := w.Write(bytes); err != nil {
		log.Print(err)
	}
}

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: otlp-double ADDRESS STORE [OPTION ...]")
	}
	if err := flag.CommandLine.Parse(os.Args[3:]); err != nil {
		log.Fatal(err)
	}
	store, err := os.OpenFile(os.Args[2], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	s := &server{store: store}
	if _, err := fmt.Sscanf(*fail, "%d:%d", &s.left, &s.code); err != nil {
		log.Fatal(err)
	}
	listener := &http.Server{Addr: os.Args[1], Handler: s, ErrorLog: log.New(os.Stderr, "", 0)}
	if *cert != "" {
		log.Fatal(listener.ListenAndServeTLS(*cert, *key))
	}
	log.Fatal(listener.ListenAndServe())
}
