module refs_generic

go 1.18
