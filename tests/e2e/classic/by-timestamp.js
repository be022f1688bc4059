// A script in the manner of Comet's first years, with Prototype: it hands back the timestamp of the last
// answer, and compares ids by itself.
var Pager = Class.create({
  initialize: function (me) {
    this.me = me;
    this.timestamp = 0;
    this.noerror = true;
    this.stopped = false;
  },

  connect: function () {
    if (this.stopped) return;
    $('state').update('waiting');
    this.ajax = new Ajax.Request('/classic/backend', {
      method: 'get',
      parameters: { timestamp: this.timestamp },
      onSuccess: function (transport) {
        var answer = transport.responseText.evalJSON();
        this.timestamp = answer.timestamp;
        this.receive(answer.msg);
        this.noerror = true;
      }.bind(this),
      onComplete: function () {
        if (this.stopped) return;
        // After an error it is tried again a little later.
        if (this.noerror) this.connect();
        else setTimeout(this.connect.bind(this), 500);
        this.noerror = false;
      }.bind(this)
    });
  },

  // An id and an address, run together.
  receive: function (msg) {
    $('log').insert(new Element('li').update(msg.escapeHTML()));
    var id = parseInt(msg, 10);
    if (id === this.me) $('shown').src = msg.substring(String(id).length);
  },

  send: function (msg) {
    new Ajax.Request('/classic/backend', { method: 'get', parameters: { msg: msg } });
  },

  stop: function () {
    this.stopped = true;
    this.ajax.transport.abort();
    $('state').update('stopped');
  }
});

document.observe('dom:loaded', function () {
  var pager = new Pager(parseInt(window.location.search.toQueryParams().me, 10));
  $('me').update(pager.me);
  $('form').observe('submit', function (event) {
    event.stop();
    pager.send($F('to') + $F('address'));
  });
  $('stop').observe('click', function () { pager.stop(); });
  pager.connect();
});
