// SPDX-License-Identifier: GPL-2.0-or-later

//go:build http
// +build http

package main

import (
	"fmt"
	"net"
	"net/http"
	_ "net/http/pprof"
)

func init() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("http", l.Addr())
	go http.Serve(l, nil)
}
