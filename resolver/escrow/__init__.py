"""Escrow: a node deposits its log at its parent and holds the parent's receipt for it.

notes     what is signed: deposits, requests, receipts
vault     the parent's side: verified deposits on disk, quotas
depositor the child's side: portions, encryption, receipts kept
fetching  a node made again from what its parent holds
"""
