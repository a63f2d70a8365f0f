module silent

go 1.17
