// SPDX-License-Identifier: GPL-2.0-or-later

// A plugin with variables, types and functions of its own.
package main

import (
	"fmt"
	"unsafe"
)

// Larger than 512 bytes, so that since Go 1.22 the object itself says what it is.
type piece struct {
	next *piece
	load []byte
	rest [64]*byte
}

// Of the size of the host's main.own.
type small struct {
	next *small
	load []byte
}

var (
	gPieces *piece
	gSmall  *small
	never   = make(chan bool)
)

func newPiece(next *piece) *piece {
	p := &piece{next: next, load: make([]byte, 4096)}
	fmt.Printf("object %#x main.piece\n", uintptr(unsafe.Pointer(p)))
	return p
}

// Fill is called by the host.
func Fill() {
	for i := 0; i < 200; i++ {
		gPieces = newPiece(gPieces)
	}
	fmt.Println("root gPieces", 200*(4096+576), 400)
	for i := 0; i < 100; i++ {
		gSmall = &small{gSmall, make([]byte, 100)}
		fmt.Printf("object %#x main.small\n", uintptr(unsafe.Pointer(gSmall)))
	}
}

// Hold never returns.
func Hold(ready func()) {
	p := newPiece(nil)
	ready()
	<-never
	fmt.Println(p)
}

func main() {}
