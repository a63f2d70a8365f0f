module refs_roots

go 1.17
