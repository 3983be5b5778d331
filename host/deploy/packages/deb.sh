#!/bin/sh
# Makes a Debian package from a program: deb.sh PLIMSOLL FOLDER. Needs dpkg-deb.
set -eu
program=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
version=$("$program" --version | cut -d ' ' -f 2)
# That of the program, which need not be that of this machine.
case $(od -An -t u2 -j 18 -N 2 "$program" | tr -d ' ') in
    62) architecture=amd64 ;;
    183) architecture=arm64 ;;
    *) architecture=$(dpkg --print-architecture) ;;
esac
# The newest version of the C library that the program names.
glibc=$(LC_ALL=C grep -aoE 'GLIBC_2\.[0-9]+' "$program" | sed 's/GLIBC_//' | sort -uV | tail -n 1)
# A program of portable.sh has its own unwinder.
unwinder=
if LC_ALL=C grep -aqF libgcc_s.so.1 "$program"; then unwinder=', libgcc-s1'; fi
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 0755 "$root"

install -D -m 0755 "$program" "$root/usr/bin/plimsoll"
install -D -m 0644 "$here/../systemd/plimsoll.service" "$root/usr/lib/systemd/system/plimsoll.service"
install -D -m 0644 "$here/../plimsoll.toml" "$root/etc/plimsoll/plimsoll.toml"
install -D -m 0644 "$here/plimsoll.default" "$root/etc/default/plimsoll"
install -D -m 0644 "$here/../haproxy/haproxy.cfg" "$root/usr/share/doc/plimsoll/examples/haproxy.cfg"
install -m 0644 "$here"/../../docs/*.md "$root/usr/share/doc/plimsoll/"
install -m 0644 "$here/../../../LICENSE" "$root/usr/share/doc/plimsoll/copyright"
for shell in bash:bash-completion/completions/plimsoll zsh:zsh/vendor-completions/_plimsoll \
    fish:fish/vendor_completions.d/plimsoll.fish; do
    "$program" completions "${shell%%:*}" > "$root/completions"
    install -D -m 0644 "$root/completions" "$root/usr/share/${shell#*:}"
done
rm "$root/completions"
"$program" man "$root/usr/share/man/man1"
gzip -9n "$root"/usr/share/man/man1/*

mkdir "$root/DEBIAN"
printf '%s\n' /etc/plimsoll/plimsoll.toml /etc/default/plimsoll > "$root/DEBIAN/conffiles"
cat > "$root/DEBIAN/control" <<CONTROL
Package: plimsoll
Version: $version
Architecture: $architecture
Maintainer: The Plimsoll authors <plimsoll@example.org>
Section: net
Priority: optional
Depends: libc6 (>= $glibc)$unwinder
Recommends: ca-certificates
Installed-Size: $(du -sk "$root" | cut -f 1)
Description: inference host whose stages are WebAssembly plugins
 Each request gets a fresh instance of each stage with a memory cap. The host
 reports the high-water mark of each stage by plugin, chip and outcome.
CONTROL
# The service starts when its administrator starts it: systemctl enable --now plimsoll.
cat > "$root/DEBIAN/postinst" <<'SCRIPT'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl try-restart plimsoll.service
fi
SCRIPT
cat > "$root/DEBIAN/prerm" <<'SCRIPT'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now plimsoll.service
fi
SCRIPT
# A purge also removes what the service has stored: versions of plugins, the token, recordings and captures.
cat > "$root/DEBIAN/postrm" <<'SCRIPT'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
if [ "$1" = purge ]; then
    rm -rf /var/lib/private/plimsoll /var/lib/plimsoll
fi
SCRIPT
chmod 0755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm" "$root/DEBIAN/postrm"
mkdir -p "$out"
dpkg-deb --root-owner-group --build "$root" "$out/plimsoll_${version}_$architecture.deb"
