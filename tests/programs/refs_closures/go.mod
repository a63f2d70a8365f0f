module refs_closures

go 1.17
