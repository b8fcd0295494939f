// SPDX-License-Identifier: GPL-2.0-or-later
#include "sys/resolver.hpp"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <span>
#include <utility>

#include "sys/error.hpp"
#include "sys/handles.hpp"
#include "sys/unique_fd.hpp"

namespace icqgate::sys {

namespace asio = boost::asio;

namespace {

using AresChannel = std::unique_ptr<ares_channeldata, CloseWith<&ares_destroy>>;

constexpr int kTimeoutMs = 1500;
constexpr int kTries = 3;

// c-ares' own words are sentences; these are the field's.
std::string words_for(int status) {
  switch (status) {
    case ARES_ENODATA:
      return "NODATA";
    case ARES_EFORMERR:
      return "FORMERR";
    case ARES_ESERVFAIL:
      return "SERVFAIL";
    case ARES_ENOTFOUND:
      return "NXDOMAIN";
    case ARES_ENOTIMP:
      return "NOTIMP";
    case ARES_EREFUSED:
      return "REFUSED";
    case ARES_EBADNAME:
      return "not a domain name";
    case ARES_EBADRESP:
      return "malformed response";
    case ARES_ECONNREFUSED:
      return "connection refused";
    case ARES_ETIMEOUT:
      return "timed out";
    default:
      return ares_strerror(status);
  }
}

// Why no socket can be had, "" if one can. c-ares says "connection refused" to that as well.
std::string no_socket() {
  const UniqueFd probe{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  return probe ? std::string{} : to_string(SysError{"socket", errno});
}

// Why resolv.conf is there and can't be read, "" otherwise. c-ares goes on as if it named nobody, and asks
// this host itself.
std::string unreadable_system_file() {
  const UniqueFd file{::open(Resolver::kSystemFile, O_RDONLY | O_CLOEXEC)};
  if (file || errno == ENOENT) return {};
  return std::string{Resolver::kSystemFile} + ": " + to_string(SysError{"open", errno});
}

}  // namespace

class Resolver::Channel : public std::enable_shared_from_this<Channel> {
 public:
  // `literal`: another channel, to be asked once more when no server did well. Null: this is that channel,
  // and what a server says is the answer, SERVFAIL and REFUSED too.
  Channel(asio::io_context& loop, std::vector<Endpoint> servers, std::shared_ptr<Channel> literal)
      : loop_{loop}, servers_{std::move(servers)}, timer_{loop}, literal_{std::move(literal)} {}
  ~Channel() {
    timer_.cancel();
    channel_.reset();  // answers every question with ARES_EDESTRUCTION and closes every watch
  }

  void open();
  void ask(std::string name, std::uint16_t qtype, Callback done);
  void reload();
  void close() {
    closed_ = true;
    if (literal_) literal_->close();
  }
  void use(const std::vector<Endpoint>& servers);
  [[nodiscard]] std::vector<Endpoint> servers() const;

 private:
  struct Question {
    Channel* owner;
    std::string name;
    std::uint16_t qtype;
    Callback done;
  };

  // A socket of c-ares'. c-ares closes it: the descriptor object only borrows it.
  struct Watch {
    explicit Watch(asio::io_context& loop) : descriptor{loop} {}
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;
    ~Watch() { leave(); }
    void leave() {
      if (descriptor.is_open()) descriptor.release();
    }
    asio::posix::stream_descriptor descriptor;
    bool want_read = false, want_write = false;  // what c-ares asks for
    bool reading = false, writing = false;       // what is being waited for
  };

  static void on_socket_state(void* self, ares_socket_t socket, int readable, int writable) {
    static_cast<Channel*>(self)->watch(socket, readable != 0, writable != 0);
  }
  static void on_answer(void* question, int status, int /*timeouts*/, unsigned char* answer, int size) {
    std::unique_ptr<Question> asked{static_cast<Question*>(question)};
    Channel* const self = asked->owner;
    self->answered(std::move(asked), status,
                   {reinterpret_cast<const std::byte*>(answer), answer ? static_cast<std::size_t>(size) : 0});
  }

  void answered(std::unique_ptr<Question> question, int status, std::span<const std::byte> answer);
  void deliver(Callback done, Reply reply);
  void watch(ares_socket_t socket, bool readable, bool writable);
  void wait(const std::shared_ptr<Watch>& watch, ares_socket_t socket);
  void process(ares_socket_t readable, ares_socket_t writable);
  void set_timer();
  int use_servers();

  asio::io_context& loop_;
  std::vector<Endpoint> servers_;
  asio::steady_timer timer_;
  std::map<ares_socket_t, std::shared_ptr<Watch>> watches_;
  std::string broken_;  // why there is no channel
  bool stale_ = false;  // resolv.conf was to be read again and could not be
  bool reloading_ = false;
  bool processing_ = false;  // c-ares is on the stack
  bool closed_ = false;      // nobody waits for an answer any more
  std::vector<std::pair<Callback, Reply>> ready_;
  std::vector<std::unique_ptr<Question>> again_;
  std::shared_ptr<Channel> literal_;
  AresChannel channel_;  // last: destroying it calls back into the members above
};

void Resolver::Channel::open() {
  broken_ = servers_.empty() ? unreadable_system_file() : std::string{};
  if (!broken_.empty()) return;
  // Not needed on Linux but asked for by its manual; counted, so never undone here.
  static const int library = ares_library_init(ARES_LIB_INIT_ALL);
  ares_options options{};
  options.timeout = kTimeoutMs;
  options.tries = kTries;
  options.sock_state_cb = &Channel::on_socket_state;
  options.sock_state_cb_data = this;
  ares_channeldata* raw = nullptr;
  int status = library;
  if (status == ARES_SUCCESS) {
    int given = ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;
    if (!literal_) {
      options.flags |= ARES_FLAG_NOCHECKRESP;
      given |= ARES_OPT_FLAGS;
    }
#ifdef ARES_FLAG_DNS0x20
    // Mixed case in the question, which a forged answer would have to guess: c-ares 1.33 and later, not yet
    // that of Debian 12 (1.18). Flags replace the library's own choice, EDNS, which carries its DNS cookies.
    options.flags |= ARES_FLAG_EDNS | ARES_FLAG_DNS0x20;
    given |= ARES_OPT_FLAGS;
#endif
#ifdef ARES_OPT_QUERY_CACHE
    // On by default since 1.31: a question before the TTL's end would not leave this process.
    options.qcache_max_ttl = 0;
    given |= ARES_OPT_QUERY_CACHE;
#endif
    status = ares_init_options(&raw, &options, given);
  }
  if (status == ARES_SUCCESS) {
    channel_.reset(raw);
    status = use_servers();
  }
  broken_ = status == ARES_SUCCESS ? std::string{} : std::string{ares_strerror(status)};
  if (status != ARES_SUCCESS) channel_.reset();
}

int Resolver::Channel::use_servers() {
  if (servers_.empty()) return ARES_SUCCESS;
  std::vector<ares_addr_port_node> nodes(servers_.size());
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    const Endpoint& server = servers_[i];
    ares_addr_port_node& node = nodes[i];
    if (const auto four = server.address.v4()) {
      node.family = AF_INET;
      node.addr.addr4.s_addr = htonl(four->get());
    } else {
      node.family = AF_INET6;
      const auto bytes = server.address.v6()->get();
      std::memcpy(&node.addr.addr6, bytes.data(), bytes.size());
    }
    const std::uint16_t port = server.port.get() != 0 ? server.port.get() : NS_DEFAULTPORT;
    node.udp_port = port;
    node.tcp_port = port;
    node.next = i + 1 < nodes.size() ? &nodes[i + 1] : nullptr;
  }
  return ares_set_servers_ports(channel_.get(), nodes.data());  // copies them
}

std::vector<Endpoint> Resolver::Channel::servers() const {
  ares_addr_port_node* raw = nullptr;
  if (!channel_ || ares_get_servers_ports(channel_.get(), &raw) != ARES_SUCCESS) return servers_;
  const std::unique_ptr<ares_addr_port_node, CloseWith<&ares_free_data>> nodes{raw};
  std::vector<Endpoint> servers;
  for (const ares_addr_port_node* node = raw; node != nullptr; node = node->next) {
    const auto number = static_cast<std::uint16_t>(node->udp_port);
    const Port port{number != 0 ? number : std::uint16_t{NS_DEFAULTPORT}};
    if (node->family == AF_INET) {
      servers.push_back({Ipv4{ntohl(node->addr.addr4.s_addr)}, port});
    } else {
      std::array<std::uint8_t, 16> bytes;
      std::memcpy(bytes.data(), &node->addr.addr6, bytes.size());
      servers.push_back({Ipv6{bytes}, port});
    }
  }
  return servers;
}

void Resolver::Channel::ask(std::string name, std::uint16_t qtype, Callback done) {
  // It may do now: resolv.conf can't be read while there are no descriptors.
  if (std::exchange(stale_, false)) reload();
  if (!channel_) open();
  if (!channel_) {
    deliver(std::move(done), {tl::make_unexpected("resolver: " + broken_)});
    return;
  }
  auto question = std::make_unique<Question>(Question{this, std::move(name), qtype, std::move(done)});
  const char* const text = question->name.c_str();
  // Owned by c-ares until on_answer(), which it may call before ares_query() returns.
  ares_query(channel_.get(), text, ns_c_in, qtype, &Channel::on_answer, question.release());
  set_timer();
}

void Resolver::Channel::use(const std::vector<Endpoint>& servers) {
  for (Channel* channel : {this, literal_.get()})
    if (channel != nullptr) channel->servers_ = servers;
  reload();
}

void Resolver::Channel::reload() {
  if (literal_) literal_->reload();
  stale_ = channel_ && servers_.empty() && !unreadable_system_file().empty();
  if (stale_) return;
  reloading_ = true;
  channel_.reset();
  reloading_ = false;
  open();
  for (auto& question : std::exchange(again_, {})) {
    ask(std::move(question->name), question->qtype, std::move(question->done));
  }
}

void Resolver::Channel::answered(std::unique_ptr<Question> question, int status,
                                 std::span<const std::byte> answer) {
  if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED) {
    if (reloading_) again_.push_back(std::move(question));
    return;
  }
  if (status == ARES_ECONNREFUSED && answer.empty() && literal_) {
    // c-ares (1.18 at least) asks the next server after SERVFAIL, REFUSED or NOTIMP, and forgets that answer:
    // in the end it says "connection refused" whatever the reason was. The other channel tells which it is.
    literal_->ask(std::move(question->name), question->qtype, std::move(question->done));
    return;
  }
  Reply reply;
  if (answer.empty()) {
    const std::string why = status == ARES_ECONNREFUSED ? no_socket() : std::string{};
    reply.message = tl::make_unexpected(why.empty() ? words_for(status) : why);
  } else {
    reply.message = std::vector<std::byte>{answer.begin(), answer.end()};
  }
  deliver(std::move(question->done), std::move(reply));
}

void Resolver::Channel::deliver(Callback done, Reply reply) {
  // c-ares is on the stack and must not be met again from inside its callback: process() calls `done` once it
  // has returned, which is a turn of the loop sooner than posting it.
  if (processing_) {
    ready_.emplace_back(std::move(done), std::move(reply));
    return;
  }
  asio::post(loop_, [alive = weak_from_this(), done = std::move(done), reply = std::move(reply)]() mutable {
    if (!alive.expired()) done(std::move(reply));
  });
}

void Resolver::Channel::watch(ares_socket_t socket, bool readable, bool writable) {
  if (!readable && !writable) {  // c-ares is about to close it
    const auto found = watches_.find(socket);
    if (found == watches_.end()) return;
    found->second->want_read = found->second->want_write = false;
    found->second->leave();  // before the number is used for something else
    watches_.erase(found);
    return;
  }
  auto& watch = watches_[socket];
  if (!watch) {
    watch = std::make_shared<Watch>(loop_);
    boost::system::error_code error;
    watch->descriptor.assign(socket, error);
    if (error) {  // then only the timer drives this socket
      watches_.erase(socket);
      return;
    }
  }
  watch->want_read = readable;
  watch->want_write = writable;
  wait(watch, socket);
}

void Resolver::Channel::wait(const std::shared_ptr<Watch>& watch, ares_socket_t socket) {
  const auto start = [&](bool Watch::* wanted, bool Watch::* waiting, bool read) {
    if (!(*watch.*wanted) || *watch.*waiting || !watch->descriptor.is_open()) return;
    *watch.*waiting = true;
    watch->descriptor.async_wait(
        read ? asio::posix::stream_descriptor::wait_read : asio::posix::stream_descriptor::wait_write,
        [alive = weak_from_this(), watch, socket, wanted, waiting,
         read](const boost::system::error_code& error) {
          *watch.*waiting = false;
          const auto self = alive.lock();
          if (!self || error || !watch->descriptor.is_open()) return;
          if (*watch.*wanted) self->process(read ? socket : ARES_SOCKET_BAD, read ? ARES_SOCKET_BAD : socket);
          self->wait(watch, socket);  // does nothing if c-ares has closed it meanwhile
        });
  };
  start(&Watch::want_read, &Watch::reading, true);
  start(&Watch::want_write, &Watch::writing, false);
}

void Resolver::Channel::process(ares_socket_t readable, ares_socket_t writable) {
  if (!channel_) return;
  const auto self = shared_from_this();  // `done` may let go of the resolver
  processing_ = true;
  ares_process_fd(channel_.get(), readable, writable);
  processing_ = false;
  set_timer();
  for (auto& [done, reply] : std::exchange(ready_, {}))
    if (!closed_) done(std::move(reply));
}

void Resolver::Channel::set_timer() {
  timeval until{};
  if (!channel_ || ares_timeout(channel_.get(), nullptr, &until) == nullptr) {
    timer_.cancel();
    return;
  }
  // One millisecond more: c-ares rounds, and a timer that fires early only comes back.
  timer_.expires_after(std::chrono::seconds{until.tv_sec} + std::chrono::microseconds{until.tv_usec} +
                       std::chrono::milliseconds{1});
  timer_.async_wait([alive = weak_from_this()](const boost::system::error_code& error) {
    const auto self = alive.lock();
    if (self && !error) self->process(ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  });
}

Resolver::Resolver(asio::io_context& loop, std::vector<Endpoint> servers)
    : channel_{std::make_shared<Channel>(loop, servers, std::make_shared<Channel>(loop, servers, nullptr))} {
  channel_->reload();
}
Resolver::~Resolver() { channel_->close(); }

void Resolver::ask(std::string absolute_name, std::uint16_t qtype, Callback done) {
  channel_->ask(std::move(absolute_name), qtype, std::move(done));
}

void Resolver::reload() { channel_->reload(); }

void Resolver::use(std::vector<Endpoint> servers) { channel_->use(std::move(servers)); }

std::vector<Endpoint> Resolver::servers() const { return channel_->servers(); }

}  // namespace icqgate::sys
