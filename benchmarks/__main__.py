"""`make bench`: the short set."""

from benchmarks import appending_beside_plain_inserts, detectors_beside_planted_truth

appending_beside_plain_inserts.main()
detectors_beside_planted_truth.main()
