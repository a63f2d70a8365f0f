module refschurn

go 1.17
