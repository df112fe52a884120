"""The system calls and address families that a bottle may not use, whatever enforces it.

A deny list on top of the namespaces.  It refuses what opens kernel surface that no agent needs (new user namespaces,
mounts, bpf, keys, io_uring, modules) and the address families that network namespaces do not cover (AF_VSOCK reaches
the hypervisor).  The choice follows the default profiles of Docker and Flatpak.
"""

from __future__ import annotations

#: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK: what a program without hardware needs.
FAMILIES = (1, 2, 10, 16)

#: Name → number of the system calls that are refused, per processor.
DENIED_X86_64 = {
    "syslog": 103, "quotactl": 179, "nfsservctl": 180, "_sysctl": 156, "acct": 163, "settimeofday": 164,
    "clock_settime": 227, "adjtimex": 159, "clock_adjtime": 305, "mount": 165, "umount2": 166, "pivot_root": 155,
    "chroot": 161, "swapon": 167, "swapoff": 168, "reboot": 169, "iopl": 172, "ioperm": 173, "create_module": 174,
    "init_module": 175, "delete_module": 176, "finit_module": 313, "kexec_load": 246, "kexec_file_load": 320,
    "unshare": 272, "setns": 308, "add_key": 248, "request_key": 249, "keyctl": 250, "perf_event_open": 298,
    "bpf": 321, "userfaultfd": 323, "open_by_handle_at": 304, "lookup_dcookie": 212, "io_uring_setup": 425,
    "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442, "move_pages": 279, "mbind": 237,
    "set_mempolicy": 238, "migrate_pages": 256, "fanotify_init": 300, "uselib": 134, "ustat": 136, "sysfs": 139,
    "vhangup": 153, "modify_ldt": 154,
}  # fmt: skip
DENIED_AARCH64 = {
    "syslog": 116, "quotactl": 60, "nfsservctl": 42, "acct": 89, "settimeofday": 170, "clock_settime": 112,
    "adjtimex": 171, "clock_adjtime": 266, "mount": 40, "umount2": 39, "pivot_root": 41, "chroot": 51,
    "swapon": 224, "swapoff": 225, "reboot": 142, "init_module": 105, "delete_module": 106, "finit_module": 273,
    "kexec_load": 104, "kexec_file_load": 294, "unshare": 97, "setns": 268, "add_key": 217, "request_key": 218,
    "keyctl": 219, "perf_event_open": 241, "bpf": 280, "userfaultfd": 282, "open_by_handle_at": 265,
    "lookup_dcookie": 18, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "mount_setattr": 442,
    "move_pages": 239, "mbind": 235, "set_mempolicy": 237, "migrate_pages": 238, "fanotify_init": 262,
    "vhangup": 58,
}  # fmt: skip
#: The names of all denied calls; a processor may lack some.
DENIED = frozenset({*DENIED_X86_64, *DENIED_AARCH64})
