module refsheap

go 1.17
