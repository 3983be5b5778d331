#!/bin/sh
# Makes the files of an image in the folder IMAGE: the program, the libraries that it loads, certificates and users.
# rootfs.sh PLIMSOLL IMAGE
set -eu
program=$1
image=$2
here=$(dirname "$0")

mkdir -p "$image/usr/bin" "$image/etc/ssl/certs" "$image/etc/plimsoll/plugins" "$image/var/lib/plimsoll" \
    "$image/var/cache/plimsoll" "$image/tmp"
install -m 0755 "$program" "$image/usr/bin/plimsoll"
# The system's resolver of host names is loaded at run time, so it is not in the program's list.
loader=$(ldd "$program" | sed -n 's/^[[:space:]]*\(\/[^ ]*ld-linux[^ ]*\) .*/\1/p')
libc=$(ldd "$program" | sed -n 's/.*libc\.so\.6 => \([^ ]*\) .*/\1/p')
for library in $(ldd "$program" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p') "$loader" \
    "$(dirname "$libc")/libnss_dns.so.2" "$(dirname "$libc")/libnss_files.so.2" "$(dirname "$libc")/libresolv.so.2"; do
    [ -e "$library" ] || continue
    mkdir -p "$image$(dirname "$library")"
    cp -L "$library" "$image$library"
done
cp -L /etc/ssl/certs/ca-certificates.crt "$image/etc/ssl/certs/ca-certificates.crt"
cp "$here/../plimsoll.toml" "$image/etc/plimsoll/plimsoll.toml"
echo 'plimsoll:x:65532:65532::/var/lib/plimsoll:/sbin/nologin' > "$image/etc/passwd"
echo 'plimsoll:x:65532:' > "$image/etc/group"
echo 'hosts: files dns' > "$image/etc/nsswitch.conf"
chmod 1777 "$image/tmp"
# The compiled code must belong to the user of the process.
chown -R 65532:65532 "$image/var/lib/plimsoll" "$image/var/cache/plimsoll"
chmod 0700 "$image/var/lib/plimsoll" "$image/var/cache/plimsoll"
