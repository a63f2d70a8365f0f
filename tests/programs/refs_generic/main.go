// SPDX-License-Identifier: GPL-2.0-or-later

// Objects that only variables of generic functions hold, whose code knows them as
// go.shape types and a dictionary. Prints "object ADDRESS NAME TYPE", NAME of the
// variable that holds it, then "ready". Go 1.18 and newer.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
	"unsafe"
)

type record struct {
	next *record
	name string
	buf  []byte
}

type other struct {
	next *other
	name string
	buf  []byte
}

type node[T any] struct {
	value T
	left  *node[T]
	right *node[T]
}

var (
	ready sync.WaitGroup
	never = make(chan bool)
	used  []interface{}
)

func object(at unsafe.Pointer, name, kind string) {
	fmt.Printf("object %#x %s %s\n", uintptr(at), name, kind)
}

//go:noinline
func use(values ...interface{}) {
	used = values
}

func typeOf[T any]() string {
	var t T
	return fmt.Sprintf("%T", t)
}

// Each variable is used behind the wait, so that the stack has it.
//
//go:noinline
func hold[T any](make1 func() T) {
	direct := make1()
	pointer := new(T)
	*pointer = make1()
	list := []T{make1(), make1(), make1()}
	tree := &node[T]{value: make1(), left: &node[T]{value: make1()}}
	table := map[int]*node[T]{1: {value: make1()}}
	object(unsafe.Pointer(pointer), "main.hold.pointer", typeOf[T]())
	object(unsafe.Pointer(&list[0]), "main.hold.list", "[]"+typeOf[T]())
	object(unsafe.Pointer(tree), "main.hold.tree", "main.node["+typeOf[T]()+"]")
	object(unsafe.Pointer(tree.left), "main.hold.tree", "main.node["+typeOf[T]()+"]")
	object(unsafe.Pointer(table[1]), "main.hold.table", "main.node["+typeOf[T]()+"]")
	ready.Done()
	<-never
	use(direct, pointer, list, tree, table)
}

type holder[K comparable, V any] struct {
	of map[K]V
}

//go:noinline
func (h *holder[K, V]) wait(value *V) {
	object(unsafe.Pointer(h), "main.(*holder[...]).wait.h", "main.holder["+typeOf[K]()+","+typeOf[V]()+"]")
	object(unsafe.Pointer(value), "main.(*holder[...]).wait.value", typeOf[V]())
	ready.Done()
	<-never
	use(h, value)
}

func makeRecord() *record {
	r := &record{name: string(make([]byte, 40)), buf: make([]byte, 100)}
	object(unsafe.Pointer(r), "-", "main.record")
	return r
}

func makeOther() *other {
	o := &other{name: string(make([]byte, 40)), buf: make([]byte, 100)}
	object(unsafe.Pointer(o), "-", "main.other")
	return o
}

func main() {
	ready.Add(6)
	go hold(makeRecord)
	go hold(makeOther)
	go hold(func() record { return *makeRecord() })
	go hold(func() int { return 7 })
	go (&holder[string, *record]{}).wait(new(*record))
	go (&holder[int, other]{}).wait(&other{buf: make([]byte, 100)})
	ready.Wait()
	runtime.GC()
	fmt.Println("ready")
	os.Stdout.Sync()
	time.Sleep(time.Hour)
}
