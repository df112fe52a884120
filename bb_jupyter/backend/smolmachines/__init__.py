"""Bottles as microVMs, by the `smolmachines` SDK (optional extra): on this host with KVM, or in the smol cloud."""
