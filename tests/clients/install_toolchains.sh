#!/usr/bin/env bash
# Installs what the client programs of docs/clients are built and run with: Debian's packages, as root. Node.js comes
# with npm, Python is there.
set -euo pipefail

packages=(
  build-essential cmake pkg-config
  protobuf-compiler protobuf-compiler-grpc
  libgrpc++-dev libprotobuf-dev
  golang-go golang-google-grpc-dev golang-google-genproto-dev golang-google-protobuf-dev
  golang-github-golang-protobuf-1-5-dev golang-github-google-uuid-dev protoc-gen-go-1-5 protoc-gen-go-grpc
  default-jdk-headless libgrpc-java libprotobuf-java libgoogle-common-protos-java libguava-java libnetty-java
  libperfmark-java libgeronimo-annotation-1.3-spec-java protobuf-compiler-grpc-java-plugin
  ruby ruby-grpc ruby-googleapis-common-protos-types
)
# Where Node.js is installed from elsewhere, Debian's own would take its place.
command -v npm >/dev/null || packages+=(nodejs npm)

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${packages[@]}"
