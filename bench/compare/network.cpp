// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors

#include "network.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>

namespace bench {

namespace {

constexpr const char* in_use = "/proc/sys/net/ipv4/tcp_congestion_control";
constexpr const char* available = "/proc/sys/net/ipv4/tcp_available_congestion_control";
constexpr std::size_t longest_name = 15;  // TCP_CA_NAME_MAX, with the zero behind it

/// Closed at the end of the block.
struct owned_fd {
    explicit owned_fd(int made) noexcept : number(made) {}
    owned_fd(const owned_fd&) = delete;
    ~owned_fd() {
        if (number >= 0) close(number);
    }
    int number;
};

[[noreturn]] void fail(std::string_view what) {
    throw network_failure(fmt::format("{}: {}", what, std::strerror(errno)));
}

int checked(int fd, std::string_view what) {
    if (fd < 0) fail(what);
    return fd;
}
int make_socket(int family, int type) {
    return checked(socket(family, type | SOCK_CLOEXEC, 0), "a socket cannot be had");
}

bool write_to(const char* path, const std::string& text) {
    const owned_fd file(open(path, O_WRONLY | O_CLOEXEC));
    return file.number >= 0 &&
           write(file.number, text.data(), text.size()) == static_cast<ssize_t>(text.size());
}

/// As who we were: others than root must stay so, for programs treat root differently.
void map_user(uid_t user, gid_t group) {
    if (!write_to("/proc/self/setgroups", "deny") ||
        !write_to("/proc/self/uid_map", fmt::format("{0} {0} 1", user)) ||
        !write_to("/proc/self/gid_map", fmt::format("{0} {0} 1", group)))
        fail("the user namespace cannot be set up");
}

void unshare_network() {
    if (unshare(CLONE_NEWNET) == 0) return;
    const uid_t user = geteuid();
    const gid_t group = getegid();
    if (errno != EPERM || unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        fail("a network namespace cannot be had; run as root, or allow user namespaces");
    map_user(user, group);
}

/// With it come 127.0.0.1 and its routes.
void bring_loopback_up() {
    const owned_fd any(make_socket(AF_INET, SOCK_DGRAM));
    ifreq request{};
    std::strcpy(request.ifr_name, "lo");
    if (ioctl(any.number, SIOCGIFFLAGS, &request) != 0) fail("lo cannot be looked at");
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
    if (ioctl(any.number, SIOCSIFFLAGS, &request) != 0) fail("lo cannot be brought up");
}

/// rtnetlink(7): the kernel's own local route to 127.0.0.1/`prefix`, with a congestion control.
class route_request {
public:
    route_request(unsigned char prefix, const std::string& congestion) {
        const in_addr loopback{
            htonl(prefix == 8 ? INADDR_LOOPBACK & IN_CLASSA_NET : INADDR_LOOPBACK)};
        const in_addr source{htonl(INADDR_LOOPBACK)};
        const int lo = static_cast<int>(if_nametoindex("lo"));
        nlmsghdr& head = *reinterpret_cast<nlmsghdr*>(room_.data());
        head.nlmsg_type = RTM_NEWROUTE;
        head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        rtmsg& route = *static_cast<rtmsg*>(NLMSG_DATA(&head));
        route.rtm_family = AF_INET;
        route.rtm_dst_len = prefix;
        route.rtm_table = RT_TABLE_LOCAL;
        route.rtm_protocol = RTPROT_KERNEL;
        route.rtm_scope = RT_SCOPE_HOST;
        route.rtm_type = RTN_LOCAL;
        add(RTA_DST, &loopback, sizeof loopback);
        add(RTA_PREFSRC, &source, sizeof source);
        add(RTA_OIF, &lo, sizeof lo);
        rtattr& metrics = add(RTA_METRICS, nullptr, 0);
        add(RTAX_CC_ALGO, congestion.c_str(), congestion.size() + 1);
        metrics.rta_len =
            static_cast<unsigned short>(room_.data() + used_ - reinterpret_cast<char*>(&metrics));
        head.nlmsg_len = static_cast<std::uint32_t>(used_);
    }

    /// 0, or what the kernel has against it.
    [[nodiscard]] int send() const {
        const owned_fd kernel(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
        alignas(nlmsghdr) std::array<char, 1024> answer{};
        if (kernel.number < 0 || ::send(kernel.number, room_.data(), used_, 0) < 0 ||
            recv(kernel.number, answer.data(), answer.size(), 0) < 0)
            return errno;
        const auto* head = reinterpret_cast<const nlmsghdr*>(answer.data());
        return -static_cast<const nlmsgerr*>(NLMSG_DATA(head))->error;
    }

private:
    rtattr& add(unsigned short type, const void* data, std::size_t size) {
        auto& attribute = *reinterpret_cast<rtattr*>(room_.data() + used_);
        attribute.rta_type = type;
        attribute.rta_len = static_cast<unsigned short>(RTA_LENGTH(size));
        if (size > 0) std::memcpy(RTA_DATA(&attribute), data, size);
        used_ += RTA_ALIGN(attribute.rta_len);
        return attribute;
    }

    alignas(nlmsghdr) std::array<char, 256> room_{};
    std::size_t used_ = NLMSG_SPACE(sizeof(rtmsg));
};

std::string congestion_of(int fd) {
    std::array<char, longest_name + 1> name{};
    socklen_t size = longest_name;
    if (getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(), &size) != 0)
        fail("TCP_CONGESTION cannot be read");
    return name.data();
}

std::string available_names() {
    std::ifstream file(available);
    std::string names;
    std::getline(file, names);
    return names;
}

}  // namespace

std::string congestion_in_force() {
    const owned_fd door(make_socket(AF_INET, SOCK_STREAM));
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* address = reinterpret_cast<sockaddr*>(&name);
    socklen_t size = sizeof name;
    if (bind(door.number, address, size) != 0 || listen(door.number, 1) != 0 ||
        getsockname(door.number, address, &size) != 0)
        fail("127.0.0.1 cannot be listened on");
    const owned_fd client(make_socket(AF_INET, SOCK_STREAM));
    if (connect(client.number, address, size) != 0) fail("127.0.0.1 cannot be reached");
    const owned_fd server(checked(accept4(door.number, nullptr, nullptr, SOCK_CLOEXEC),
                                  "127.0.0.1: nothing can be accepted"));
    const std::string one = congestion_of(client.number);
    const std::string other = congestion_of(server.number);
    return one == other ? one : fmt::format("{} and {}", one, other);
}

void enter_network(const std::string& name) {
    const auto unknown = [&name](const std::string& why) {
        return network_failure(fmt::format(
            "{}; this kernel has: {}; more come with modules (as root: modprobe tcp_{})", why,
            available_names(), name));
    };
    if (name.size() > longest_name) throw unknown("no congestion control has so long a name");
    unshare_network();
    bring_loopback_up();
    // Sandboxes refuse the setting also to who may do anything in the namespace.
    if (!write_to(in_use, name))
        for (const unsigned char prefix : {8, 32})
            if (const int error = route_request(prefix, name).send(); error != 0)
                throw unknown(
                    fmt::format("{} cannot be written, and a route with it is refused: {}", in_use,
                                std::strerror(error)));
    if (const std::string got = congestion_in_force(); got != name)
        throw unknown(fmt::format("connections over loopback use {} all the same", got));
}

}  // namespace bench
