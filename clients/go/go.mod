module github.com/encke/encke/clients/go

go 1.24
