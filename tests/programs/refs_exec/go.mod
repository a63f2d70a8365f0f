module refs_exec

go 1.16
