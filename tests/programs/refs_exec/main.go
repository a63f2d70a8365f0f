// SPDX-License-Identifier: GPL-2.0-or-later

// A Go program of any version with a heap of 4 MiB that prints "ready" and waits.
// With a file as argument it becomes itself anew, again and again, while that is there;
// with "usr1", once, at that signal.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
)

var blobs [][]byte

func main() {
	for i := 0; i < 64; i++ {
		blob := make([]byte, 64<<10)
		for k := range blob {
			blob[k] = 1
		}
		blobs = append(blobs, blob)
	}
	fmt.Println("ready")
	if len(os.Args) > 1 && os.Args[1] == "usr1" {
		told := make(chan os.Signal, 1)
		signal.Notify(told, syscall.SIGUSR1)
		<-told
		fmt.Println(syscall.Exec("/proc/self/exe", os.Args[:1], os.Environ()))
	}
	if len(os.Args) > 1 {
		time.Sleep(time.Duration(5+time.Now().UnixNano()%200) * time.Millisecond)
		if _, err := os.Stat(os.Args[1]); err != nil {
			time.Sleep(time.Hour)
		}
		fmt.Println(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	}
	time.Sleep(time.Hour)
	runtime.KeepAlive(blobs)
}
