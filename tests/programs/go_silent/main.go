// SPDX-License-Identifier: GPL-2.0-or-later

// A Go program that takes N MiB of blocks for each line "N" and says "done". Its heap
// profile is mostly empty until then: it has taken less than is sampled once. With the
// build tag bare it keeps none. Builds with Go 1.17.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
)

var (
	kept    [][]byte
	profile = func() {}
)

//go:noinline
func keep(mib int) {
	for i := 0; i < 16*mib; i++ {
		block := make([]byte, 64<<10)
		for k := range block {
			block[k] = 1
		}
		kept = append(kept, block)
	}
}

func main() {
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); fmt.Println("done") {
		mib, _ := strconv.Atoi(in.Text())
		profile()
		keep(mib)
		runtime.GC()
		runtime.GC()
	}
}
