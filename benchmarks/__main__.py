"""`make bench`: the short set."""

from benchmarks import appending_beside_plain_inserts

appending_beside_plain_inserts.main()
