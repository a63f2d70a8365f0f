module refs

go 1.17
