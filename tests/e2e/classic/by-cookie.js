// A script in the manner of Comet's first years, with jQuery: it keeps nothing, and goes on until it is told
// to stop.
var me;

function wait() {
  $('#state').text('waiting');
  $.ajax({
    type: 'POST',
    url: '/classic/backend',
    dataType: 'json',
    success: function (answer) {
      if (answer.msg) receive(answer.msg);
      if (answer.stop == 1) $('#state').text('stopped');
      else wait();
    },
    // After an error it is tried again a little later.
    error: function () { setTimeout(wait, 500); }
  });
}

// An id and an address, run together.
function receive(msg) {
  $('<li>').text(msg).appendTo('#log');
  var id = parseInt(msg, 10);
  if (id === me) $('#shown').attr('src', msg.substring(String(id).length));
}

$(function () {
  me = parseInt(/me=(\d+)/.exec(window.location.search)[1], 10);
  $('#me').text(me);
  $('#form').on('submit', function () {
    $.post('/classic/writedata', { msg: $('#to').val() + $('#address').val() });
    return false;
  });
  $('#stop').on('click', function () { $.post('/classic/stop'); });
  wait();
});
