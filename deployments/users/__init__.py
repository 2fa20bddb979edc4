"""People who sign in with a password, and the sessions of their browsers.

types.py        a user, a session, and what a username and a password may be
store.py        the interface of the store; postgres.py and memory.py implement it
passwords.py    hashing and verifying, off the event loop
sign_in.py      signing in: attempts bounded, sessions begun
credentials.py  who holds a secret, be it a key or a session's token

A user's account is a key that nobody holds (deployments/keys): what holds for keys, from limits to usage and batches,
holds for users. A session stands for a user, or for the key that somebody signed in with.
"""
