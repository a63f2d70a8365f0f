// SPDX-License-Identifier: GPL-2.0-or-later

// A heap that nobody made for a test: the Go type checker's, after it has checked
// encoding/json and all that it imports. Prints "ready".
package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"text/template"
	"time"
)

var (
	fset  = token.NewFileSet()
	files []*ast.File
	info  = &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{},
		Defs:  map[*ast.Ident]types.Object{},
		Uses:  map[*ast.Ident]types.Object{},
	}
	pkg  *types.Package
	doc  interface{}
	text *template.Template
)

func main() {
	dir := filepath.Join(runtime.GOROOT(), "src/encoding/json")
	all, err := parser.ParseDir(fset, dir, func(f os.FileInfo) bool {
		return !strings.HasSuffix(f.Name(), "_test.go")
	}, parser.ParseComments)
	if err != nil {
		panic(err)
	}
	for _, f := range all["json"].Files {
		files = append(files, f)
	}
	conf := types.Config{Importer: importer.ForCompiler(fset, "source", nil), Error: func(error) {}}
	pkg, _ = conf.Check("encoding/json", fset, files, info)
	if err := json.Unmarshal([]byte(`{"a":[1,2,{"b":"c"}],"d":{"e":[true,null,"x"]}}`), &doc); err != nil {
		panic(err)
	}
	text = template.Must(template.New("x").Parse(`{{range .}}<a href="{{.}}">{{.}}</a>{{end}}`))
	runtime.GC()
	runtime.GC()
	fmt.Println("ready")
	time.Sleep(time.Hour)
	fmt.Println(pkg, files, info, doc, text)
}
