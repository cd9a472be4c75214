"""Which package brings a library, for the common ones: a hint for people. What is not here is called by its soname."""

from __future__ import annotations

import re

# The library, with its version where that decides → the package of Debian, and of Fedora and its relatives ('' where
# that is not known). {v} is the version behind ".so.".
_PACKAGES = {
    "libpq": ("libpq5", "libpq"),
    "libmysqlclient": ("libmysqlclient{v}", "mysql-libs"),
    "libmariadb": ("libmariadb{v}", "mariadb-connector-c"),
    "libsqlite3": ("libsqlite3-0", "sqlite-libs"),
    "libodbc": ("libodbc2", "unixODBC"),
    "libsybdb": ("libsybdb5", "freetds-libs"),
    "libxml2.so.2": ("libxml2", "libxml2"),
    "libxml2.so.16": ("libxml2-16", "libxml2"),
    "libxslt": ("libxslt1.1", "libxslt"),
    "libexslt": ("libxslt1.1", "libxslt"),
    "libxmlsec1": ("libxmlsec1", "xmlsec1"),
    "libxmlsec1-openssl": ("libxmlsec1-openssl", "xmlsec1-openssl"),
    "libyaml-0": ("libyaml-0-2", "libyaml"),
    "libjpeg.so.62": ("libjpeg62-turbo", "libjpeg-turbo"),
    "libjpeg.so.8": ("libjpeg8", "libjpeg-turbo"),
    "libpng16": ("libpng16-16", "libpng"),
    "libtiff": ("libtiff{v}", "libtiff"),
    "libwebp": ("libwebp{v}", "libwebp"),
    "libwebpmux": ("libwebpmux{v}", ""),
    "libwebpdemux": ("libwebpdemux{v}", ""),
    "libopenjp2": ("libopenjp2-7", "openjpeg2"),
    "liblcms2": ("liblcms2-2", "lcms2"),
    "libfreetype": ("libfreetype6", "freetype"),
    "libfontconfig": ("libfontconfig1", "fontconfig"),
    "libcairo": ("libcairo2", "cairo"),
    "libpango-1.0": ("libpango-1.0-0", "pango"),
    "libpangocairo-1.0": ("libpangocairo-1.0-0", "pango"),
    "libpangoft2-1.0": ("libpangoft2-1.0-0", "pango"),
    "libgdk_pixbuf-2.0": ("libgdk-pixbuf-2.0-0", "gdk-pixbuf2"),
    "libharfbuzz": ("libharfbuzz0b", "harfbuzz"),
    "libGL": ("libgl1", "libglvnd-glx"),
    "libEGL": ("libegl1", "libglvnd-egl"),
    "libOpenGL": ("libopengl0", ""),
    "libglib-2.0": ("libglib2.0-0", "glib2"),
    "libgobject-2.0": ("libglib2.0-0", "glib2"),
    "libgthread-2.0": ("libglib2.0-0", "glib2"),
    "libX11": ("libx11-6", "libX11"),
    "libXext": ("libxext6", "libXext"),
    "libXrender": ("libxrender1", "libXrender"),
    "libSM": ("libsm6", "libSM"),
    "libICE": ("libice6", "libICE"),
    "libxcb": ("libxcb1", "libxcb"),
    "libvips": ("libvips{v}", "vips"),
    "libmagic": ("libmagic1", "file-libs"),
    "libtesseract": ("libtesseract{v}", ""),
    "libsndfile": ("libsndfile1", ""),
    "libffi": ("libffi{v}", "libffi"),
    "libssl.so.1.1": ("libssl1.1", "openssl11-libs"),
    "libssl.so.3": ("libssl3", "openssl-libs"),
    "libcrypto.so.1.1": ("libssl1.1", "openssl11-libs"),
    "libcrypto.so.3": ("libssl3", "openssl-libs"),
    "libkrb5": ("libkrb5-3", "krb5-libs"),
    "libgssapi_krb5": ("libgssapi-krb5-2", "krb5-libs"),
    "libldap.so.2": ("libldap2", "openldap"),
    "libldap-2.4": ("libldap-2.4-2", ""),
    "libldap_r-2.4": ("libldap-2.4-2", ""),
    "libldap-2.5": ("libldap-2.5-0", ""),
    "libldap_r-2.5": ("libldap-2.5-0", ""),
    "liblber.so.2": ("libldap2", "openldap"),
    "liblber-2.4": ("libldap-2.4-2", ""),
    "liblber-2.5": ("libldap-2.5-0", ""),
    "libsasl2": ("libsasl2-2", "cyrus-sasl-lib"),
    "libgnutls": ("libgnutls30", "gnutls"),
    "libsodium": ("libsodium23", "libsodium"),
    "libcurl": ("libcurl4", "libcurl"),
    "libcurl-gnutls": ("libcurl3-gnutls", ""),
    "libssh2": ("libssh2-1", "libssh2"),
    "libssh": ("libssh-4", "libssh"),
    "libgit2": ("libgit2-{v}", "libgit2"),
    "librdkafka": ("librdkafka1", "librdkafka"),
    "libzmq": ("libzmq5", "zeromq"),
    "libhiredis": ("libhiredis{v}", "hiredis"),
    "libsnappy": ("libsnappy1v5", "snappy"),
    "liblz4": ("liblz4-1", "lz4-libs"),
    "libzstd": ("libzstd1", "libzstd"),
    "liblzma": ("liblzma5", "xz-libs"),
    "libbz2": ("libbz2-1.0", "bzip2-libs"),
    "libz": ("zlib1g", "zlib"),
    "libpcre.so.3": ("libpcre3", "pcre"),
    "libpcre2-8": ("libpcre2-8-0", "pcre2"),
    "libicuuc": ("libicu{v}", "libicu"),
    "libicui18n": ("libicu{v}", "libicu"),
    "libicudata": ("libicu{v}", "libicu"),
    "libgdal": ("libgdal{v}", "gdal-libs"),
    "libgeos_c": ("libgeos-c1v5", "geos"),
    "libproj": ("libproj{v}", "proj"),
    "libgfortran": ("libgfortran{v}", "libgfortran"),
    "libquadmath": ("libquadmath0", "libquadmath"),
    "libgomp": ("libgomp1", "libgomp"),
    "libblas": ("libblas3", "blas"),
    "liblapack": ("liblapack3", "lapack"),
    "libopenblas": ("libopenblas0", "openblas"),
    "libtbb.so.2": ("libtbb2", "tbb"),
    "libtbb.so.12": ("libtbb12", "tbb"),
    "libstdc++": ("libstdc++6", "libstdc++"),
    "libgcc_s": ("libgcc-s1", "libgcc"),
    "libatomic": ("libatomic1", "libatomic"),
    "libexpat": ("libexpat1", "expat"),
    "libncursesw": ("libncursesw{v}", "ncurses-libs"),
    "libtinfo": ("libtinfo{v}", "ncurses-libs"),
    "libreadline": ("libreadline{v}", "readline"),
    "libuuid": ("libuuid1", "libuuid"),
    "libsystemd": ("libsystemd0", "systemd-libs"),
    "libudev": ("libudev1", ""),
    "libcap": ("libcap2", "libcap"),
    "libdbus-1": ("libdbus-1-3", "dbus-libs"),
    "libusb-1.0": ("libusb-1.0-0", "libusb1"),
    "libnsl": ("libnsl2", "libnsl"),
    "libcrypt": ("libcrypt1", "libxcrypt"),
    "libpcap": ("libpcap0.8", "libpcap"),
    "libevent-2.1": ("libevent-2.1-{v}", ""),
    "libuv": ("libuv1", "libuv"),
}

_SONAME = re.compile(r"(?P<name>.+?)\.so(?:\.(?P<version>[\d.]+))?")
_PYTHON = re.compile(r"libpython(3\.\d+)")


def debian(soname: str) -> str:
    """The Debian package that brings *soname*, '' where it is not known."""
    return _packages(soname)[0]


def rpm(soname: str) -> str:
    """The package of Fedora and its relatives, '' where it is not known."""
    return _packages(soname)[1]


def _packages(soname: str) -> tuple[str, str]:
    if python := _PYTHON.match(soname):
        return f"libpython{python[1]}", f"python{python[1]}-libs"
    match = _SONAME.fullmatch(soname)
    if match is None or not match["version"]:
        return "", ""
    apt, dnf = _PACKAGES.get(soname) or _PACKAGES.get(match["name"], ("", ""))
    return apt.format(v=match["version"]), dnf
