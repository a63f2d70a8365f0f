module refs_lua

go 1.20
