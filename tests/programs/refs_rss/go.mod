module refs_rss

go 1.17
