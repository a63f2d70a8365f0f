// SPDX-License-Identifier: GPL-2.0-or-later
package main

import (
	"sync/atomic"
	"unsafe"
)

type pair[K comparable, V any] struct {
	key   K
	value V
	next  *pair[K, V]
}

type box[T any] struct {
	items []T
	last  *T
}

var (
	gPairsOfInt *pair[int, *rec]
	gPairsOfRec *pair[string, rec]
	gBox        box[val]
	gAtomic     atomic.Pointer[loner]
	gTables     [8]atomic.Pointer[pair[int, *rec]]
)

func push[K comparable, V any](to **pair[K, V], k K, v V) *pair[K, V] {
	*to = &pair[K, V]{k, v, *to}
	return *to
}

func makeGeneric() {
	for i := 0; i < 200; i++ {
		a := push(&gPairsOfInt, i, makeRec(i))
		object(unsafe.Pointer(a), "main.pair[int,*main.rec]")
		recObjects("object", a.value)
		b := push(&gPairsOfRec, "k", *makeRec(i))
		object(unsafe.Pointer(b), "main.pair[string,main.rec]")
		gBox.items = append(gBox.items, val{r: makeRec(i)})
	}
	object(unsafe.Pointer(&gBox.items[0]), "[]main.val")
	gBox.last = &val{r: makeRec(1)}
	object(unsafe.Pointer(gBox.last), "main.val")
	gAtomic.Store(&loner{p: makeRec(1), s: "static text"})
	object(unsafe.Pointer(gAtomic.Load()), "main.loner")
	recObjects("object", gAtomic.Load().p)
	for i := range gTables {
		p := &pair[int, *rec]{value: makeRec(i)}
		gTables[i].Store(p)
		object(unsafe.Pointer(p), "main.pair[int,*main.rec]")
		recObjects("object", p.value)
	}
}
