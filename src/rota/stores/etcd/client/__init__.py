"""A thin client of etcd 3.4 and newer, over gRPC."""
