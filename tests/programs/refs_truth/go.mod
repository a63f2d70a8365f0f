module refs_truth

go 1.17
