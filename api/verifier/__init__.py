"""`rapport-verify`: checks an evidence bundle, for people who have nothing else of ours.

No database, no keyring, no server. What it stands on is what `build` puts into one file: this
package, the format and the proofs from `infra`, the views, the domain; pydantic and cryptography
below them. Where `rfc3161-client` is installed, it checks timestamps too.
"""
