// SPDX-License-Identifier: GPL-2.0-or-later

//go:build go1.18
// +build go1.18

package main

type box[T any] struct {
	value T
	n     int
}

func (b *box[T]) get() T {
	return b.value
}

var (
	gGeneric    *box[*holder]
	gGenericMap map[string]box[*holder]
)

func generics() {
	gGeneric = &box[*holder]{hold(63), 1}
	gGenericMap = map[string]box[*holder]{"a": {hold(64), 1}}
}

func useGenerics() {
	use(gGeneric.get(), gGenericMap)
}
