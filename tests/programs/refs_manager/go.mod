module manager

go 1.17
