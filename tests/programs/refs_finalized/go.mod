module refs_finalized

go 1.17
