module refs_modes

go 1.18
